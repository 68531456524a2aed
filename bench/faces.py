"""What is taken for a face, and what two age models say of it: on harmless pictures that packages ship.

(second word) Of what NudeNet calls a face, in what share does dlib see one too: of people, and of what is none
(animals, fruit, things, told by file name). How often dlib alone finds a face where NudeNet has none.
(changed) Faces of people compressed, small, dark: which are found by NudeNet, which count, and how far the mean of both
models' P(age < 20) is off what it is of the picture as it is. Nobody's true age is known here: this is no recall.
(cost) Processor time for a face, and for a picture without one.
The pictures are those of `./dev bench benign` (benign.toml). Nobody looks at them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.benign_changes import CHANGES, read
from bench.benign_corpora import Gathered, gather, read_manifest
from bench.benign_page import rate, table
from bench.corpus import default_work
from bench.measure import machine, machine_line, write_result

from fedi_safety.core.types import Evidence, Frame, Scored
from fedi_safety.detectors.embedded.age import FACE_SCORE, Age
from fedi_safety.detectors.embedded.nudenet import FACES, NudeNet
from fedi_safety.detectors.sessions.devices import choose_device
from fedi_safety.media.decoder.frames.still import fit

LONGEST_PX = 512
NO_PEOPLE = ("/animals/", "/food/", "/plants/", "/seasonal/", "/vehicles/", "/household/", "/space/", "/clothes/")
SMALL_PX = (48, 32, 24, 16, 12)
KINDS = ("people", "grey-faces", "animals and things", "wallpapers", "photographs", "clip-art", "game-art")


class Finder:
    """NudeNet's word on a picture, and that of the detector `age`."""

    def __init__(self) -> None:
        device = choose_device("cpu")
        self.nudenet, self.age = NudeNet(device, 1), Age(device, 1)

    def __call__(self, image: Image.Image) -> tuple[Frame, Scored, Scored]:
        shown = image.resize(fit(*image.size), Image.Resampling.BILINEAR, reducing_gap=1.5)
        frame = Frame(0, *shown.size, shown.tobytes())
        (bodies,) = self.nudenet.score([Evidence(frame)])
        (ages,) = self.age.score([Evidence(frame, bodies.boxes)])
        return frame, bodies, ages


def grey_faces(side_px: int = 250) -> Iterator[Image.Image]:
    """Yield the small grey faces of adults in public life that ship with scikit-image, enlarged."""
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("scikit-image is not installed; run this through ./dev bench")
    faces = np.load(Path(spec.submodule_search_locations[0]) / "data/lfw_subset.npy")[:100]  # the others show no face
    for face in faces:
        yield Image.fromarray((face * 255).astype(np.uint8)).resize((side_px, side_px), Image.Resampling.BICUBIC)


def kind_of(corpus: str, name: str) -> str:
    """Return what a picture shows, as far as its corpus or its place in a package tells; empty where neither does."""
    if corpus == "stamps":
        return "animals and things" if any(part in name for part in NO_PEOPLE) else ""
    return corpus if corpus in KINDS else ""


def pictures(gathered: Gathered, most: int | None) -> Iterator[tuple[str, Image.Image]]:
    """Yield kind and picture; drawings in SVG are left out, as none of them is read here."""
    for corpus, files in gathered.files.items():
        for name, path in files[:most]:
            if (kind := kind_of(corpus, name)) and path.suffix.lower() != ".svg":
                yield kind, read(path)
    for image in islice(grey_faces(), most):
        yield "grey-faces", image.convert("RGB")


def second_word(finder: Finder, shown: Iterator[tuple[str, Image.Image]]) -> dict[str, dict[str, int]]:
    """Return by kind how many faces NudeNet is sure and unsure of, how many count, and what dlib alone finds."""
    counts: dict[str, dict[str, int]] = {}
    for kind, image in shown:
        _, bodies, ages = finder(image)
        count = counts.setdefault(kind, dict.fromkeys(("n", "sure", "kept", "unsure", "taken", "without", "found"), 0))
        count["n"] += 1
        named = [face for face in ages.findings if face.label in FACES]
        for face in named:
            sure = face.score >= FACE_SCORE
            count["sure" if sure else "unsure"] += 1
            count["kept" if sure else "taken"] += face.counted
        if not any(box.label in FACES and box.score >= FACE_SCORE for box in bodies.boxes):
            count["without"] += 1
            count["found"] += any(face.counted and face.label not in FACES for face in ages.findings)
    return {kind: counts[kind] for kind in KINDS if kind in counts}


def _small(image: Image.Image, side_px: float, to_px: int) -> bytes:
    """Return the picture with a face of so many pixels, on a canvas of its own size: it is far away."""
    scale = to_px / side_px
    canvas = Image.new("RGB", image.size, (128, 128, 128))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas.paste(image.resize(size, Image.Resampling.LANCZOS))
    buffer = BytesIO()
    canvas.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def changed(finder: Finder, people: Sequence[Image.Image]) -> dict[str, dict[str, float]]:
    """Return by change how many faces are found by NudeNet, how many count, and how far their ages are off."""
    rows: dict[str, dict[str, list[float]]] = {}
    for image in people:
        image.thumbnail((LONGEST_PX, LONGEST_PX))
        frame, bodies, ages = finder(image)
        counted = [face for face in ages.findings if face.counted and face.label in FACES]
        if len(counted) != 1 or ages.signals["face.confirmed"] < FACE_SCORE:
            continue  # which face is which would have to be told
        as_it_is, side = ages.signals["face.under_20"], float(counted[0].size_px) * image.width / frame.width
        makes: dict[str, Callable[[Image.Image], bytes]] = {k: m for k, m in CHANGES.items() if "turned" not in k}
        makes |= {f"face of {px} px": partial(_small, side_px=side, to_px=px) for px in SMALL_PX if px < side}
        for change, make in makes.items():
            with Image.open(BytesIO(make(image))) as opened:
                _, bodies, ages = finder(opened.convert("RGB"))
            row = rows.setdefault(change, {"nudenet": [], "counts": [], "off": [], "young": []})
            row["nudenet"].append(bodies.signals["face.present"] >= FACE_SCORE)
            row["counts"].append(ages.signals["face.confirmed"] > 0)
            if ages.signals["face.confirmed"] > 0:
                row["off"].append(abs(ages.signals["face.under_20"] - as_it_is))
                row["young"].append(ages.signals["face.under_20"] - as_it_is >= 0.2)
    return {
        change: {
            "of": len(row["nudenet"]),
            "nudenet": int(sum(row["nudenet"])),
            "counts": int(sum(row["counts"])),
            "off": float(np.mean(row["off"])) if row["off"] else 0.0,
            "younger": int(sum(row["young"])),
        }
        for change, row in rows.items()
    }


def cost(finder: Finder, people: Sequence[Image.Image], rounds: int = 3) -> dict[str, float]:
    """Return milliseconds of processor time: of the detector for one face, and for a picture without a face."""
    spent: dict[str, list[float]] = {"a face": [], "no face": []}
    blank = Image.effect_noise((LONGEST_PX, LONGEST_PX * 3 // 4), 40).convert("RGB")
    for image in [*people[:8], *[blank] * 4]:
        frame, bodies, ages = finder(image)
        boxes = [box for box in bodies.boxes if box.label in FACES]
        if len(boxes) > 1 or (len(boxes) == 1 and not ages.findings[0].counted):
            continue
        start = time.process_time()
        for _ in range(rounds):
            finder.age.score([Evidence(frame, tuple(boxes))])
        spent["a face" if boxes else "no face"].append(1000 * (time.process_time() - start) / rounds)
    return {what: float(np.median(times)) for what, times in spent.items() if times}


def tables(result: Mapping[str, Any]) -> str:
    """Return the figures in Markdown."""
    rows = [
        (kind, str(c["n"]), rate(c["kept"], c["sure"]), rate(c["taken"], c["unsure"]), rate(c["found"], c["without"]))
        for kind, c in result["second_word"].items()
    ]
    head = (
        "pictures of",
        "n",
        f"faces by NudeNet (>= {FACE_SCORE:g}) that count",
        "less sure ones that count",
        "pictures without a sure face in which dlib finds one",
    )
    other = [
        (change, rate(c["nudenet"], c["of"]), rate(c["counts"], c["of"]), f"{c['off']:.3f}", str(c["younger"]))
        for change, c in result["changed"].items()
    ]
    other_head = ("change", "NudeNet finds the face", "it counts", "P(<20) off by", "higher by 0.2 or more")
    spent = ", ".join(f"{what} {ms:.0f} ms" for what, ms in result["cost_ms"].items())
    return f"{table(head, rows, (1,))}\n\n{table(other_head, other, (3, 4))}\n\nProcessor time of `age`: {spent}\n"


def main() -> int:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="some pictures of installed packages, nothing fetched")
    parser.add_argument("--most", type=int, help="how many pictures of each corpus at most")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for corpora (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    if options.quick:
        options.most = min(options.most or 6, 6)
    options.work.mkdir(parents=True, exist_ok=True)
    about = machine()
    print(machine_line(about))
    gathered = gather(read_manifest(), options.work, fetched=not options.quick)
    for package, why in gathered.left_out.items():
        print(f"left out: {package}: {why}", file=sys.stderr)
    finder = Finder()
    people = [read(path) for _, path in gathered.files.get("people", [])[: options.most]]
    result = {
        "benchmark": "faces",
        "machine": about,
        "most": options.most,
        "second_word": second_word(finder, pictures(gathered, options.most)),
        "changed": changed(finder, people),
        "cost_ms": cost(finder, people),
    }
    print(tables(result))
    write_result("faces", result, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
