"""How much of what is harmless the presets condemn or send to review: stills, beside slideshows and clips made of them.

The pictures are photographs that ship with scikit-image and scikit-learn, cropped and coloured as an instance's uploads
(bench/corpus.py), and small grey faces of adults in public life. One dry run measures everything, without the cascade
and under `strict`, whose rules need every signal and lead to most second passes; then each preset is applied to the
stored scores. Beside it stands what would be condemned if the factors of a rule were joined over a whole medium, as
before. The set is small and has few faces: the shares say how media compare, not what an instance should expect.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bench.corpus import default_work, make_file
from bench.measure import fedi_safety, machine, machine_line, run, write_result

from fedi_safety.app.ledger import SystemClock
from fedi_safety.cli.text.lookup import reason_text
from fedi_safety.core.enums import Verdict
from fedi_safety.core.frames.scores import ONE_PICTURE
from fedi_safety.core.ledger.ports import ScorePage
from fedi_safety.core.policy import Policy, judge
from fedi_safety.core.types import Judgement
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.policies import PRESETS, load_policy
from support.corpus.photos import grey_faces

SIZE = (480, 360)
PICTURES = 8  # in a slideshow or clip
QUALITY = 85
SECONDS = 2  # that each of them is shown
KINDS = ("still", "slideshow", "clip")
Pages = list[ScorePage]


def stills(count: int) -> list[Image.Image]:
    """Return so many harmless pictures; every fourth is a face."""
    faces = grey_faces(max(1, count // 4), 240)
    found = []
    for number in range(count):
        if number % 4 == 3:
            face = faces[number // 4 % len(faces)]
            picture = Image.frombytes("RGB", (face.width, face.height), face.rgb)
        else:
            with Image.open(BytesIO(make_file(number)[1])) as image:
                picture = image.convert("RGB")
        found.append(picture)
    return found


def fitted(picture: Image.Image) -> Image.Image:
    """Return a picture as it stands in a slideshow: whole, on grey."""
    canvas = Image.new("RGB", SIZE, (64, 64, 64))
    small = picture.copy()
    small.thumbnail(SIZE)
    canvas.paste(small, ((SIZE[0] - small.width) // 2, (SIZE[1] - small.height) // 2))
    return canvas


def slideshow(pictures: list[Image.Image]) -> bytes:
    """Return an animated WebP that shows one picture after the other."""
    buffer = BytesIO()
    first, *others = map(fitted, pictures)
    first.save(buffer, "WEBP", save_all=True, append_images=others, duration=1000 * SECONDS, quality=QUALITY)
    return buffer.getvalue()


def clip(pictures: list[Image.Image]) -> bytes:
    """Return an MP4 that shows one picture after the other."""
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        track: Any = container.add_stream("mpeg4", rate=5)
        track.width, track.height = SIZE
        track.bit_rate = 2_000_000
        for picture in map(fitted, pictures):
            for _ in range(5 * SECONDS):
                container.mux(track.encode(av.VideoFrame.from_image(picture)))  # type: ignore[no-untyped-call]
        container.mux(track.encode(None))
    return buffer.getvalue()


def media(pictures: list[Image.Image], shows: int) -> Iterator[tuple[str, bytes]]:
    """Yield keys and bytes: every picture by itself, and so many slideshows and clips of pictures drawn by chance."""
    random = np.random.default_rng(1)
    for number, picture in enumerate(pictures):
        buffer = BytesIO()
        fitted(picture).save(buffer, "WEBP", quality=QUALITY)  # as in a slideshow, so that only the moving is new
        yield f"still/{number:04}.webp", buffer.getvalue()
    for number in range(shows):
        chosen = [pictures[i] for i in random.choice(len(pictures), PICTURES, replace=False).tolist()]
        yield f"slideshow/{number:04}.webp", slideshow(chosen)
        yield f"clip/{number:04}.mp4", clip(chosen)


def scanned(folder: Path, scratch: Path, jobs: int) -> tuple[dict[bytes, str], Pages]:
    """Scan the folder into a fresh ledger; return the key of every content, and the scores."""
    ledger = scratch / "ledger.db"
    policy = ("--policy", "strict", "--no-cascade", "--jobs", str(jobs))
    run(fedi_safety("scan", str(folder), "--dry-run", "--quiet", "--ledger", str(ledger), *policy), cwd=scratch)
    opened = open_ledger(ledger, clock=SystemClock(), readonly=True)
    try:
        keys = {row.sha256: row.key for row in opened.list_objects() if row.sha256 is not None}
        return keys, list(opened.score_pages())
    finally:
        opened.dispose()


def shares(policy: Policy, keys: dict[bytes, str], pages: Pages, examples: list[str]) -> dict[str, dict[str, int]]:
    """Return by kind of medium how many a policy condemns and sends to review, and how many it would by whole media.

    Adds to `examples` what is condemned, and why.
    """
    counts = {kind: Counter[str]() for kind in KINDS}
    for page in pages:
        for at, sha256 in enumerate(page.cells["sha256"]):
            scores = page.scores(at)
            if sha256 not in keys or scores.frames is None:
                raise SystemExit("a content is without its frames")
            count = counts[keys[sha256].partition("/")[0]]
            count["media"] += 1
            judgement = judge(policy, scores.signals, scores.frames)
            count[judgement.verdict.value] += 1
            examples += [f"{policy.name} condemns {keys[sha256]}: {text}" for text in _blocking(judgement)]
            joined = judge(policy, scores.signals, ONE_PICTURE).verdict
            count["block over the whole medium"] += joined is Verdict.BLOCK
    return {kind: dict(count) for kind, count in counts.items()}


def _blocking(judgement: Judgement) -> list[str]:
    return [reason_text(hit) for hit in judgement.reasons if hit.verdict is Verdict.BLOCK]


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--shows", type=int, default=48, help="how many slideshows, and as many clips")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--work", type=Path, default=default_work(), help="folder for the files (default: user's cache)"
    )
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    about = machine()
    print(machine_line(about))
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name) / "media"
        for key, data in media(stills(options.pictures), options.shows):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        keys, pages = scanned(folder, Path(name), options.jobs)
    examples: list[str] = []
    found = {preset: shares(load_policy(preset), keys, pages, examples) for preset in PRESETS}
    print(f"{'policy':10}{'media':>12}{'judged':>8}{'block':>8}{'review':>8}{'block, joined over the medium':>32}")
    for preset, by_kind in found.items():
        for kind, count in by_kind.items():
            joined = count.get("block over the whole medium", 0)
            numbers = (count.get("media", 0), count.get("block", 0), count.get("review", 0))
            print(f"{preset:10}{kind:>12}{numbers[0]:>8}{numbers[1]:>8}{numbers[2]:>8}{joined:>32}")
    for line in examples:
        print(line)
    result = {"benchmark": "false_alarms", "machine": about, "presets": found, "condemned": examples}
    write_result("false_alarms", result, options.out)


if __name__ == "__main__":
    main()
