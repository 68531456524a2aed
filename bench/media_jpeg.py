"""JPEG to 224x224 RGB for detectors: the child's route beside Pillow's plain one, in time and in what networks see.

What they see is measured by embeddings: of open_nsfw, a network trained on photographs, the 1024 numbers that its last
layer decides by; and of the committed stand-in CLIP its own. Both get the 224x224 pictures of both routes.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import photographs
from bench.measure import Spread

from fedi_safety.core.enums import MediaType
from fedi_safety.core.types import Evidence, Frame
from fedi_safety.detectors.embedded.open_nsfw import WEIGHTS
from fedi_safety.media.decoder.formats.images import decode_still

NO_CAP = 10**9
ALIKE = 0.995
_FEATURES = "Reshape:0"  # what open_nsfw's last layer gets
_MEAN_BGR = (104, 117, 123)


def jpegs(size: tuple[int, int], count: int) -> list[bytes]:
    """Return photographs as JPEG files of one size."""
    found = []
    for number in range(count):
        photo = photographs()[number % len(photographs())]
        image = photo.resize(size, Image.Resampling.LANCZOS)
        noise = np.random.default_rng(number).normal(0, 4, (size[1], size[0], 1))  # what a sensor adds
        grained = np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8)
        target = io.BytesIO()
        Image.fromarray(grained).save(target, "JPEG", quality=85)
        found.append(target.getvalue())
    return found


def plain_224(data: bytes) -> Image.Image:
    """Open and resize with Pillow, as a first attempt would."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)


def our_224(data: bytes) -> Image.Image:
    """Take the frame that the child makes, and resize it as a detector does."""
    return decode_still(data, MediaType.JPEG, NO_CAP).image.resize((224, 224), Image.Resampling.BICUBIC)


def likeness(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """Return the cosine between two pictures about their mean, and the mean difference of 255."""
    a, b = (np.asarray(image, np.float32).ravel() for image in (one, other))
    x, y = a - a.mean(), b - b.mean()
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y) or 1)), float(np.abs(a - b).mean())


def cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the cosine between two vectors."""
    x, y = one.astype(np.float64), other.astype(np.float64)
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


@cache
def networks() -> dict[str, Callable[[Image.Image], NDArray[Any]]]:
    """Return the networks that embed a 224x224 picture, by name."""
    import onnx
    import onnxruntime

    graph = onnx.load_from_string(WEIGHTS.read())
    graph.graph.output.append(onnx.ValueInfoProto(name=_FEATURES))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    clip = stand_in_clip()

    def open_nsfw(image: Image.Image) -> NDArray[Any]:
        values = np.asarray(image, np.float32)[None, :, :, ::-1] - np.array(_MEAN_BGR, np.float32)
        return np.asarray(session.run([_FEATURES], {name: values})[0]).ravel()

    def stand_in(image: Image.Image) -> NDArray[Any]:
        (scored,) = clip.score([Evidence(Frame(0, *image.size, image.tobytes()))])
        return np.frombuffer(scored.embedding, "<f2")

    return {"open_nsfw": open_nsfw, "stand-in CLIP": stand_in}


def stand_in_clip() -> Any:
    """Return the detector `clip` with the committed stand-in model and its concepts."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from fedi_safety.config.schema import Clip, Settings
    from fedi_safety.detectors import open_detectors
    from support import stand_in

    with tempfile.NamedTemporaryFile("w", suffix=".toml") as concepts:
        concepts.write(stand_in.concepts())
        concepts.flush()
        settings = Clip(
            model=stand_in.MODEL_NAME, model_dir=str(stand_in.MODEL.parent), concepts=concepts.name, precision="fp32"
        )
        return open_detectors(Settings(detectors=["clip"], device="cpu", clip=settings), 1).frames[0]


def compare_jpeg(options: argparse.Namespace) -> dict[str, Any]:
    """Measure both routes on both sizes."""
    found: dict[str, Any] = {}
    for size, wanted in (((4000, 3000), 3.0), ((1200, 900), 1.5)):
        files = jpegs(size, options.files)
        rates: dict[str, list[float]] = {"plain": [], "ours": []}
        for _ in range(options.rounds):
            rates["plain"].append(len(files) / seconds(partial(each, plain_224, files)))
            rates["ours"].append(len(files) / seconds(partial(each, our_224, files)))
        alike = [likeness(plain_224(data), our_224(data)) for data in files]
        ratio = Spread(tuple(a / b for a, b in zip(rates["ours"], rates["plain"], strict=True)))
        print(f"JPEG {size[0]}x{size[1]}: plain {Spread(tuple(rates['plain'])).text(1)} a second, ours ", end="")
        print(f"{Spread(tuple(rates['ours'])).text(1)}, {ratio.text()} times (wanted {wanted:g})")
        print(f"  pixels alike: cosine {min(c for c, _ in alike):.5f} at least, {max(d for _, d in alike):.2f} apart")
        embedded = {
            name: min(cosine(embed(plain_224(data)), embed(our_224(data))) for data in files)
            for name, embed in networks().items()
        }
        for name, lowest in embedded.items():
            print(f"  embeddings of {name}: cosine {lowest:.5f} at least (wanted {ALIKE:g})")
        found[f"{size[0]}x{size[1]}"] = {
            "ratio": ratio.as_json(),
            "wanted": wanted,
            "lowest_cosine_of_embeddings": {name: round(lowest, 5) for name, lowest in embedded.items()},
            "lowest_cosine_of_pixels": round(min(c for c, _ in alike), 5),
            "highest_mean_difference": round(max(d for _, d in alike), 3),
        }
    return found


def each(way: Callable[[bytes], object], files: Sequence[bytes]) -> None:
    """Take every file the same way."""
    for data in files:
        way(data)


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of some work."""
    start = time.process_time()
    work()
    return time.process_time() - start
