"""How often harmless pictures are condemned: by preset and corpus, with intervals, beside what other programs say.

The pictures ship in packages under open licences (benign.toml) and are fetched by name, version and digest; slideshows
and clips are made of them. Every preset scans all of them afresh, with and without its cascade. Then: what a preset
says of the scores that a scan under another one left, beside its own scan; how surely a face is found in changed
pictures, by a policy that condemns faces; and what open_nsfw, NudeNet and nsfwjs flag. Nobody looks at a picture, and
nothing is removed.

With --page the figures go into docs/benchmark.md; the exit code is 1 where --check finds a preset to condemn or review
more of any corpus than that page says.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import benign_page
from bench.benign_changes import CHANGES, STAND_IN, changed, moving
from bench.benign_corpora import Gathered, Manifest, gather, read_manifest
from bench.benign_peers import Answers, all_peers
from bench.corpus import default_work
from bench.measure import ROOT, fedi_safety, machine, machine_line, run, write_result

from fedi_safety.app.engine import measurable
from fedi_safety.app.ledger import SystemClock
from fedi_safety.app.replay import Rejudge
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Verdict
from fedi_safety.core.types import Scores
from fedi_safety.core.wording.reasons import reason_text
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.policies import PRESETS, load_policy

SEED = 14
QUICK = 8  # pictures of each corpus
MOVING = 30  # slideshows, and as many clips
ROBUST = 80  # pictures of people that are changed
UNFINISHED = "benign-unfinished.json"  # the figures of the parts that are through, should the rest not be
MOVES = frozenset({"slideshows", "clips"})
SAMPLED = frozenset({"clips"})  # a scan looks at other frames of them each time


@dataclass(slots=True)
class Scanned:
    """What a scan says of every key, why it condemns, and the scores it left by SHA-256."""

    verdicts: dict[str, str] = field(default_factory=dict)  # clear, review, block or unscanned
    why: dict[str, str] = field(default_factory=dict)  # of those that are not clear
    digests: dict[str, bytes] = field(default_factory=dict)
    scores: dict[bytes, Scores] = field(default_factory=dict)


def scan(folder: Path, scratch: Path, policy: str, *, jobs: int, cascade: bool = True) -> Scanned:
    """Scan a folder dry into a ledger of its own."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        ledger = Path(name) / "ledger.db"
        how = ["--policy", policy, "--jobs", str(jobs), *([] if cascade else ["--no-cascade"])]
        run(fedi_safety("scan", str(folder), "--dry-run", "--quiet", "--ledger", str(ledger), *how), cwd=Path(name))
        opened = open_ledger(ledger, clock=SystemClock(), readonly=True)
        try:
            found = Scanned()
            for row in opened.list_objects():
                found.verdicts[row.key] = row.verdict.value if row.verdict else "unscanned"
                if row.reasons and row.verdict not in (None, Verdict.CLEAR):
                    hits = [hit for hit in row.reasons if hit.verdict is row.verdict]
                    found.why[row.key] = "; ".join(map(reason_text, hits))
                if row.sha256 is not None:
                    found.digests[row.key] = row.sha256
            for page in opened.score_pages():
                found.scores |= {sha256: page.scores(at) for at, sha256 in enumerate(page.cells["sha256"])}
            return found
        finally:
            opened.dispose()


def corpus_of(key: str) -> str:
    """Return the corpus that a key belongs to."""
    return key.partition("/")[0]


def lay_out(gathered: Gathered, folder: Path, most: int | None) -> None:
    """Put at most so many of every corpus into the folder that is scanned, what moves as well."""
    chosen: list[Path] = []
    for corpus, files in gathered.files.items():
        for name, path in files[:most]:
            _write(folder / corpus / name, path.read_bytes())
        if corpus in ("people", "photographs"):
            chosen += [path for _, path in files[:most]]
    for corpus, name, data in moving(chosen, MOVING if most is None else min(MOVING, max(1, most // 5)), SEED):
        _write(folder / corpus / name, data)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def by_corpus(scanned: Scanned, order: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return by corpus, in this order, how many there are and how many of each verdict."""
    counts: dict[str, Counter[str]] = {}
    for key, verdict in scanned.verdicts.items():
        counts.setdefault(corpus_of(key), Counter())[verdict] += 1
    return {corpus: {"n": sum(counts[corpus].values()), **counts[corpus]} for corpus in order if corpus in counts}


def differing(one: Scanned, other: Scanned) -> dict[str, Any]:
    """Return of how many two scans say something else; what is sampled anew in every scan does not count."""
    keys = [key for key in one.verdicts if corpus_of(key) not in SAMPLED]
    differ = {k: [one.verdicts[k], other.verdicts.get(k)] for k in keys if one.verdicts[k] != other.verdicts.get(k)}
    return {"n": len(keys), "differ": differ}


def from_scores(scanned: Mapping[str, Scanned], presets: Sequence[str]) -> list[dict[str, Any]]:
    """Return what each preset decides from the scores of another one's scan, beside its own scan."""
    known = measurable(Settings())
    rows = []
    for old, new in permutations(presets, 2):
        rejudge = Rejudge(known.in_force(load_policy(new)), known.signals)
        count: Counter[str] = Counter()
        differ: dict[str, list[str]] = {}
        for key, digest in scanned[old].digests.items():
            fresh = scanned[new].verdicts.get(key)
            if corpus_of(key) in SAMPLED or digest not in scanned[old].scores:
                continue
            judged = rejudge(digest, scanned[old].scores[digest])
            word = "undecided" if judged is None else "agree" if judged.verdict.value == fresh else "differ"
            count[word] += 1
            if judged is not None and word == "differ":
                differ[key] = [judged.verdict.value, str(fresh)]
        rows.append({"scanned": old, "decided": new, **count, "which": differ})
    return rows


def robustness(gathered: Gathered, scratch: Path, most: int | None, *, jobs: int) -> dict[str, dict[str, int]]:
    """Return by change how many of the faces that are found as they are, are still found."""
    folder, policy = scratch / "changed", scratch / "faces.toml"
    policy.write_text(STAND_IN)
    pictures = gathered.files.get("people", [])[: ROBUST if most is None else min(ROBUST, most // 2)]
    for change, name, data in changed(pictures):
        _write(folder / change / name, data)
    if not pictures:
        return {}
    verdicts = scan(folder, scratch, str(policy), jobs=jobs).verdicts
    found: dict[str, set[str]] = {}
    for key, verdict in verdicts.items():
        found.setdefault(corpus_of(key), set()).update({Path(key).name} if verdict == "block" else ())
    before = found["as it is"]
    return {change: {"of": len(before), "found": len(found.get(change, set()) & before)} for change in CHANGES}


def peers(folder: Path, manifest: Manifest, work: Path, *, fetched: bool) -> list[dict[str, Any]]:
    """Return what every peer flags, by corpus."""
    stills = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and corpus_of(path.relative_to(folder).as_posix()) not in MOVES
    }
    return [_by_corpus(answers) for answers in all_peers(stills, manifest, work, fetched=fetched)]


def _by_corpus(answers: Answers) -> dict[str, Any]:
    told: dict[str, Any] = {"name": answers.name, "rule": answers.rule}
    if answers.flagged is None:
        return told | {"why_not": answers.why_not}
    counts: dict[str, dict[str, int]] = {}
    for key, flagged in answers.flagged.items():
        count = counts.setdefault(corpus_of(key), {"n": 0, "flagged": 0})
        count["n"] += 1
        count["flagged"] += flagged
    return told | {"corpora": counts}


def commit() -> str:
    """Return the last commit of the program that is measured, and whether its sources differ from it."""
    last = ["git", "log", "-1", "--abbrev=9", "--format=%h", "--", "src"]
    changed_since = ["git", "status", "--porcelain", "--", "src"]
    said, dirty = (
        subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
        for asked in (last, changed_since)
    )
    return f"{said or 'unknown'}{' with changes' if dirty else ''}"


def parts(options: argparse.Namespace, scratch: Path, manifest: Manifest) -> Iterator[tuple[str, Any]]:
    """Measure, and yield the figures part by part."""
    gathered = gather(manifest, options.work, fetched=not options.quick)
    for package, why in gathered.left_out.items():
        print(f"left out: {package}: {why}", file=sys.stderr)
    yield "left_out", gathered.left_out
    folder = scratch / "media"
    lay_out(gathered, folder, options.most)
    scanned: dict[str, Scanned] = {}
    cascade: dict[str, dict[str, Any]] = {}
    for preset in PRESETS:
        start = time.monotonic()
        scanned[preset] = scan(folder, scratch, preset, jobs=options.jobs)
        everything = scan(folder, scratch, preset, jobs=options.jobs, cascade=False)
        cascade[preset] = differing(scanned[preset], everything)
        print(f"{preset}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    order = [*manifest.corpora, *benign_page.MADE]
    yield "presets", {preset: by_corpus(found, order) for preset, found in scanned.items()}
    yield (
        "not_clear",
        [
            {"preset": preset, "verdict": found.verdicts[key], "key": key, "why": why}
            for preset, found in scanned.items()
            for key, why in sorted(found.why.items())
        ],
    )
    yield "cascade", cascade
    yield "from_scores", from_scores(scanned, list(PRESETS))
    yield "robustness", robustness(gathered, scratch, options.most, jobs=options.jobs)
    if not options.no_peers:
        yield "peers", peers(folder, manifest, options.work, fetched=not options.quick)


def main() -> int:
    """Measure, print and write the figures; 1 where `--check` finds more than the page says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="some pictures of installed packages, nothing fetched")
    parser.add_argument("--most", type=int, help="how many pictures of each corpus at most")
    parser.add_argument("--no-peers", action="store_true", help="leave out other programs")
    parser.add_argument("--page", action="store_true", help="write the figures into docs/benchmark.md")
    parser.add_argument("--check", action="store_true", help="compare with docs/benchmark.md")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for corpora (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    if options.quick and (options.page or options.check):
        parser.error("--quick measures too little for --page and --check")
    if options.quick:
        options.most = min(options.most or QUICK, QUICK)
    if options.check:
        options.most = benign_page.recorded()["most"]  # counts of another share are no measure
        options.no_peers = options.no_peers or not options.page
    options.work.mkdir(parents=True, exist_ok=True)
    about, manifest = machine(), read_manifest()
    print(machine_line(about))
    result: dict[str, Any] = {
        "benchmark": "benign",
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": about,
        "manifest": manifest.digest,
        "quick": options.quick,
        "most": options.most,
    }
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        for part, figures in parts(options, Path(name), manifest):
            result[part] = figures
            (options.work / UNFINISHED).write_text(json.dumps(result))
    print(benign_page.tables(result, manifest))
    write_result("benign", result, options.out)
    (options.work / UNFINISHED).unlink()
    worse = benign_page.worse(result, benign_page.recorded()) if options.check else []
    for line in worse:
        print(f"worse than docs/benchmark.md: {line}", file=sys.stderr)
    if options.page:
        benign_page.write(result, manifest)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
