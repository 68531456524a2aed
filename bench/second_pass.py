"""How much of a face detectors lose by what is around it and how it lies: why pictures are cut into tiles and turned.

(around) One portrait, whole and as head and shoulders: in long pictures, within borders, on contact sheets.
(turned) 100 small grey faces of adults in public life and the portrait: as they are, mirrored, turned. How many faces
are found, and how many of these adults would pass for minors.
(tiles) A red circle at many places of long pictures, with the stand-in CLIP: by the whole, and by the tiles.
The photographs ship with scikit-image; nothing here says how good the detectors are.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bench.measure import machine, machine_line, write_result
from bench.media_jpeg import stand_in_clip

from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import MediaType
from fedi_safety.core.types import Evidence, Frame
from fedi_safety.detectors import open_detectors
from fedi_safety.media import SandboxDecoder
from fedi_safety.media.decoder.frames.still import fit
from support.corpus.photos import grey_faces, picture

FOUND, MINOR = 0.4, 0.2  # the score from which a face's age is told; what the presets ask of a minor
T = Image.Transpose
TURNS: dict[str, Image.Transpose | None] = {
    "as it is": None,
    "mirrored": T.FLIP_LEFT_RIGHT,
    "turned by 90°": T.ROTATE_270,
    "turned by 180°": T.ROTATE_180,
    "turned by 270°": T.ROTATE_90,
}


class Scorer:
    """Gives `face.present`, `face.minor` and `nsfw.open_nsfw` for a picture, as a first pass would show it."""

    def __init__(self) -> None:
        found = {detector.name: detector for detector in open_detectors(Settings(device="cpu"), 1).frames}
        self._nudenet, self._age, self._open_nsfw = found["nudenet"], found["age"], found["open_nsfw"]

    def __call__(self, image: Image.Image) -> tuple[float, float, float]:
        shown = image.resize(fit(*image.size), Image.Resampling.BILINEAR, reducing_gap=1.5)
        frame = Frame(0, *shown.size, shown.tobytes())
        (bodies,) = self._nudenet.score([Evidence(frame)])
        (ages,) = self._age.score([Evidence(frame, bodies.boxes)])
        (nsfw,) = self._open_nsfw.score([Evidence(frame)])
        return bodies.signals["face.present"], ages.signals["face.minor"], nsfw.signals["nsfw.open_nsfw"]


def ground(width: int, height: int) -> Image.Image:
    """Draw something everywhere."""
    cells = np.random.default_rng(1).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def around(image: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """Yield the picture within larger ones."""
    width, height = image.size
    yield "alone", image
    for times in (1.5, 2, 2.5, 3, 4, 6, 10, 20):
        long = ground(width, int(height * times))
        long.paste(image, (0, int((long.height - height) * 0.6)))
        yield f"in a picture {times:g} times as long", long
    for times in (1.5, 2, 2.5, 3):
        bars = Image.new("RGB", (width, int(height * times)))
        bars.paste(image, (0, (bars.height - height) // 2))
        yield f"between black bars, {100 / times:.0f} % of the area", bars
    for times in (2, 3, 4, 6, 8):
        sheet = ground(width * times, height * times)
        sheet.paste(image, (width * (times // 2), height * (times // 2)))
        yield f"on a sheet of {times}x{times}", sheet


def compare_around(score: Scorer) -> dict[str, Any]:
    """Show what is left of one face."""
    portrait = picture("astronaut", 512)
    images = {
        "portrait": portrait,
        "head": portrait.crop((130, 0, 330, 200)).resize((600, 600), Image.Resampling.BICUBIC),
    }
    rows: dict[str, dict[str, list[float]]] = {}
    for name, image in images.items():
        for way, shown in around(image):
            rows.setdefault(way, {})[name] = [round(value, 3) for value in score(shown)]
    print(f"{'face.present, nsfw.open_nsfw':44}" + "".join(f"{name:>18}" for name in images))
    for way, row in rows.items():
        print(f"{way:44}" + "".join(f"{row[name][0]:10.2f}{row[name][2]:8.3f}" for name in images))
    return rows


def compare_turned(score: Scorer) -> dict[str, Any]:
    """Count faces found, and adults taken for minors."""
    faces = [Image.frombytes("RGB", (f.width, f.height), f.rgb) for f in grey_faces(100, 100)]
    faces = [face.resize((300, 300), Image.Resampling.BICUBIC) for face in faces]
    portrait = picture("astronaut", 512)
    table: dict[str, np.ndarray[Any, Any]] = {}
    rows: dict[str, Any] = {}
    print(f"{'of 100 faces of adults':44}{'found':>10}{'minor':>10}{'portrait':>10}")
    for way, turn in TURNS.items():
        shown = [face if turn is None else face.transpose(turn) for face in faces]
        table[way] = np.array([score(image) for image in shown])
        one = score(portrait if turn is None else portrait.transpose(turn))
        rows[way] = _turned_row(way, table[way], one)
    turned = np.max([values for way, values in table.items() if way.startswith("turned")], axis=0)
    rows["in any turn"] = _turned_row("in any turn", turned, None)
    missed = table["as it is"][:, 0] < FOUND
    rows["missed as they are"] = {
        "count": int(missed.sum()),
        "found turned": int((turned[missed, 0] >= FOUND).sum()),
        "found mirrored": int((table["mirrored"][missed, 0] >= FOUND).sum()),
    }
    print(f"not found as they are: {rows['missed as they are']}")
    return rows


def _turned_row(way: str, values: np.ndarray[Any, Any], portrait: tuple[float, float, float] | None) -> dict[str, Any]:
    found, minor = int((values[:, 0] >= FOUND).sum()), int((values[:, 1] >= MINOR).sum())
    print(f"{way:44}{found:10}{minor:10}" + ("" if portrait is None else f"{portrait[0]:10.2f}"))
    return {"found": found, "minor": minor, "portrait": portrait and [round(value, 3) for value in portrait]}


def compare_tiles(_: Scorer) -> dict[str, Any]:
    """Count the places at which a red circle is found."""
    clip = stand_in_clip()
    rows: dict[str, Any] = {}
    with SandboxDecoder(jobs=1) as decoder:
        for height in (4000, 10_000, 20_000):
            whole, tiled, places = 0, 0, range(100, height - 700, height // 20)
            for top in places:
                decoded = decoder.decode(_page(height, top), MediaType.PNG)
                scores = [min(scored.signals.values()) for scored in clip.score([Evidence(f) for f in decoded.frames])]
                whole, tiled = whole + (scores[0] >= 0.5), tiled + (max(scores[1:]) >= 0.5)
            rows[f"1000x{height}"] = {"places": len(places), "whole": whole, "tiles": tiled}
            print(f"a red circle in 1000x{height}: of {len(places)} places the whole shows {whole}, tiles {tiled}")
    return rows


def _page(height: int, top: int) -> bytes:
    image = Image.new("RGB", (1000, height), (244, 244, 242))
    pen = ImageDraw.Draw(image)
    for y in (0, height - 60):  # something at the corners, so that the rest is no border
        for x in (0, 940):
            pen.rectangle((x, y, x + 59, y + 59), fill=(38, 74, 196))
    pen.ellipse((200, top, 800, top + 600), fill=(212, 36, 40))
    target = io.BytesIO()
    image.save(target, "PNG", compress_level=1)
    return target.getvalue()


PARTS: dict[str, Callable[[Scorer], dict[str, Any]]] = {
    "around": compare_around,
    "turned": compare_turned,
    "tiles": compare_tiles,
}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; left out, all")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}")
    about = machine()
    print(machine_line(about))
    result: dict[str, Any] = {"benchmark": "second_pass", "machine": about}
    score = Scorer()
    for part in options.parts or PARTS:
        result[part] = PARTS[part](score)
    write_result("second_pass", result, options.out)


if __name__ == "__main__":
    main()
