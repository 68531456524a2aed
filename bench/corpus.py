"""Makes the benchmarks' files: the same bytes for the same numbers, from harmless photographs and drawings only.

The photographs ship with scikit-image and scikit-learn (a rocket, a cat, coffee, an astronaut, ...); crops, flips,
colours and slight noise make every file a content of its own. Kept in a cache folder, never in the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from io import BytesIO
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

VERSION = 2
PHOTOGRAPHS = {
    "skimage": (
        "data",
        (
            "astronaut.png",
            "chelsea.png",
            "coffee.png",
            "rocket.jpg",
            "motorcycle_left.png",
            "hubble_deep_field.jpg",
            "grass.png",
            "gravel.png",
            "coins.png",
            "camera.png",
        ),
    ),
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
}
JPEG_BYTES = 250_000  # what an ordinary JPEG of the corpus should weigh

_photographs: list[Image.Image] = []


def default_work() -> Path:
    """Return the folder that corpora are kept in when none is named."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedi-safety-bench"


def photographs() -> list[Image.Image]:
    """Return the photographs as RGB, read once a process."""
    if not _photographs:
        for package, (folder, names) in PHOTOGRAPHS.items():
            spec = find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                raise SystemExit(f"{package} is not installed; run this through ./dev bench")
            place = Path(spec.submodule_search_locations[0]) / folder
            for name in names:
                with Image.open(place / name) as image:
                    _photographs.append(image.convert("RGB"))
    return _photographs


# --- an instance in small: what people upload ------------------------------------------------------------------------
def kind_of(number: int) -> str:
    """Return what file `number` is: of 100 files 90 JPEG, 5 PNG screenshots, 3 WebP, 2 large JPEG."""
    place = (number * 37) % 100  # spread evenly, so that every slice of the corpus has the same mix
    if place < 90:
        return "jpeg"
    if place < 95:
        return "screenshot"
    return "webp" if place < 98 else "large"


def make_file(number: int) -> tuple[str, bytes]:
    """Return key and bytes of file `number`."""
    random = np.random.default_rng((VERSION, number))
    kind = kind_of(number)
    buffer = BytesIO()
    if kind == "screenshot":
        _screenshot(random, number).save(buffer, "PNG")
        suffix, data = "png", buffer.getvalue()
    elif kind == "webp":
        _photo(random, *_size(random, 1200, 900)).save(buffer, "WEBP", quality=85)
        suffix, data = "webp", buffer.getvalue()
    elif kind == "large":
        _photo(random, 4000, 3000).save(buffer, "JPEG", quality=85)
        suffix, data = "jpg", buffer.getvalue()
    else:
        suffix, data = "jpg", _weighing(_photo(random, *_size(random, 1200, 900)), JPEG_BYTES)
    return f"{number % 256:02x}/{number // 256 % 256:02x}/{number:06d}.{suffix}", data


def _size(random: np.random.Generator, width: int, height: int) -> tuple[int, int]:
    """Vary the size by a fifth; a third of the pictures stands upright."""
    scale = random.uniform(0.8, 1.2)
    width, height = int(width * scale), int(height * scale)
    return (height, width) if random.random() < 0.33 else (width, height)


def _photo(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return a crop of a photograph, perhaps mirrored, with other colours and a little noise."""
    sources = photographs()
    source = sources[int(random.integers(len(sources)))]
    share = random.uniform(0.6, 1.0)
    across = min(source.width, source.height * width / height) * share
    down = across * height / width
    left = random.uniform(0, source.width - across)
    top = random.uniform(0, source.height - down)
    image = source.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + across, top + down))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    values = np.asarray(image, np.float32) * random.uniform(0.85, 1.15, 3).astype(np.float32)
    values += random.standard_normal(values.shape, np.float32) * np.float32(random.uniform(2.0, 6.0))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _weighing(image: Image.Image, weight: int) -> bytes:
    """Return the JPEG whose size comes closest to `weight`."""
    best = b""
    for quality in (93, 88, 82, 75):
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        data = buffer.getvalue()
        if not best or abs(len(data) - weight) < abs(len(best) - weight):
            best = data
        if len(data) <= weight:
            break
    return best


def _screenshot(random: np.random.Generator, number: int) -> Image.Image:
    """Return a drawn screen of a telephone: a bar, messages as lines, a picture's place."""
    image = Image.new("RGB", (1080, 2340), (250, 250, 252))
    draw = ImageDraw.Draw(image)
    accent = tuple(int(v) for v in random.integers(30, 200, 3))
    draw.rectangle((0, 0, 1080, 210), fill=accent)
    draw.text((48, 120), f"screen {number}", fill="white", font_size=56)
    y = 260
    while y < 2200:
        height = int(random.integers(120, 420))
        left = 40 if random.random() < 0.5 else 220
        draw.rounded_rectangle((left, y, left + 800, y + height), 36, fill=(232, 236, 242), outline=(208, 212, 220))
        for line in range(y + 36, y + height - 40, 48):
            words = " ".join("abcdefghijklmnop"[int(n) : int(n) + 5] for n in random.integers(0, 12, 7))
            draw.text((left + 36, line), words, fill=(40, 44, 52), font_size=34)
        y += height + 36
    return image


def instance_corpus(work: Path, files: int) -> Path:
    """Return the folder with `files` files as an instance has them, made if need be."""
    return made(work / f"instance-{files}", {"version": VERSION, "files": files}, lambda: _make_all(files))


def _make_all(files: int) -> Iterator[tuple[str, bytes]]:
    with Pool(len(os.sched_getaffinity(0))) as pool:
        yield from pool.imap(make_file, range(files), chunksize=8)


# --- very many small files -------------------------------------------------------------------------------------------
def tiny_corpus(work: Path, files: int, *, pictures: float = 1.0, copies: float = 0.0) -> Path:
    """Return a folder with `files` small files in folders of 1,000.

    A share of `pictures` are JPEGs of 64x48 pixels, each with bytes of its own; a share of `copies` has the bytes of
    one of these; the others are no media.
    """
    name = f"tiny-{files}-{round(pictures * 100)}-{round(copies * 100)}"
    about = {"version": VERSION, "files": files, "pictures": pictures, "copies": copies}
    return made(work / name, about, lambda: _tiny(files, pictures, copies))


def _tiny(files: int, pictures: float, copies: float) -> Iterator[tuple[str, bytes]]:
    originals: list[bytes] = []
    for number in range(64):
        buffer = BytesIO()
        _photo(np.random.default_rng((VERSION, 1, number)), 64, 48).save(buffer, "JPEG", quality=80)
        originals.append(buffer.getvalue())
    recent: deque[int] = deque([0], maxlen=5000)
    for number in range(files):
        place = (number * 37) % 100 / 100
        kind = "picture" if place < pictures else "copy" if place < pictures + copies else "other"
        if kind == "picture":
            recent.append(number)
        folder = f"{number // 1000:04d}"
        if kind == "other":
            yield f"{folder}/media-{number:07d}.csv", b"number,square\n%d,%d\n" % (number, number * number)
        else:
            of = number if kind == "picture" else recent[number % len(recent)]
            yield f"{folder}/media-{number:07d}.jpg", commented(originals[of % 64], b"%d" % of)


def commented(jpeg: bytes, text: bytes) -> bytes:
    """Return the same picture with a comment segment after its first marker, which makes it another content."""
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


# --- folders ---------------------------------------------------------------------------------------------------------
def made(folder: Path, about: Mapping[str, object], make: Callable[[], Iterator[tuple[str, bytes]]]) -> Path:
    """Return `folder` as it was made for `about` before, or make it; half a folder never counts."""
    note = folder.with_name(folder.name + ".json")
    if note.exists() and json.loads(note.read_text()) == about:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"making {folder.name} ...", file=sys.stderr, flush=True)
    parents: set[Path] = set()
    for key, data in make():
        path = folder / key
        if path.parent not in parents:
            path.parent.mkdir(parents=True, exist_ok=True)
            parents.add(path.parent)
        path.write_bytes(data)
    note.write_text(json.dumps(dict(about)))
    return folder


def main() -> None:
    """Make a corpus and print where it is."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for corpora (default: user's cache)")
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--tiny", action="store_true", help="very small pictures instead of an instance's mix")
    options = parser.parse_args()
    make = tiny_corpus if options.tiny else instance_corpus
    print(make(options.work, options.files))


if __name__ == "__main__":
    main()
