"""What the media layer gains and costs, measured side by side in one run: JPEG, moving media, the sandbox.

(jpeg) The child's route to a frame and on to 224x224, beside Pillow's plain open, convert and resize: media_jpeg.py.
(moving) Frames judged a second: this program's route, beside decoding every frame and making a picture of each one, and
beside decoding every frame and making pictures of the same few. One thread, processor time.
(flash) How often a picture that is shown for one frame only is among the frames that are judged, beside the odds of the
frames drawn at random alone.
(sandbox) A whole scan with the embedded detectors: decoders in confined child processes, beside the same in-process.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work, instance_corpus, photographs
from bench.measure import Spread, machine, machine_line, write_result
from bench.media_jpeg import NO_CAP, compare_jpeg, seconds

from fedi_safety.app.engine import Engine, open_engine
from fedi_safety.app.ledger import open_settings_ledger
from fedi_safety.app.scan import scan
from fedi_safety.app.stores import named_store
from fedi_safety.config.loading import load_settings
from fedi_safety.core.enums import Detail, MediaType
from fedi_safety.core.runs import ScanRequest
from fedi_safety.core.types import Decoded, Frame
from fedi_safety.media import sniff
from fedi_safety.media.caps import Caps
from fedi_safety.media.decoder.dispatch import decode
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.frames.sampling import odds
from fedi_safety.media.decoder.frames.still import fit
from fedi_safety.policies import load_policy

VERSION = 1
BUDGET = 16


# --- (moving)
@dataclass(frozen=True, slots=True)
class Sample:
    """A moving medium and how it is made."""

    name: str
    kind: MediaType
    make: Callable[[], bytes]


def scenes(count: int, size: tuple[int, int], scene: int) -> Iterator[Image.Image]:
    """Pan over photographs, another one every `scene` frames."""
    width, height = size
    grounds = [photo.resize((width * 3 // 2, height * 3 // 2)) for photo in photographs()[:6]]
    for number in range(count):
        ground = grounds[number // scene % len(grounds)]
        x = int((np.sin(number / 40) + 1) / 2 * (ground.width - width))
        y = int((np.cos(number / 55) + 1) / 2 * (ground.height - height))
        yield ground.crop((x, y, x + width, y + height))


def clip(form: str, codec: str, count: int, size: tuple[int, int], **options: str) -> bytes:
    """Encode a clip of 30 frames a second."""
    target = io.BytesIO()
    with av.open(target, "w", form) as container:
        track: Any = container.add_stream(codec, rate=30, options={**options, "threads": "2"})
        track.width, track.height, track.pix_fmt = *size, "yuv420p"
        for image in scenes(count, size, 200):
            container.mux(track.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        container.mux(track.encode(None))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # as root, SVT-AV1 takes real-time priority
    return target.getvalue()


def animation(kind: str, count: int, size: tuple[int, int], *, still: bool = False, **options: Any) -> bytes:
    """Save an animation; with `still` only a small part of the picture moves."""
    images = list(scenes(count, size, 60))
    if still:
        ground = images[0]
        images = []
        for number in range(count):
            image = ground.copy()
            image.paste((230, 40, 40), (number % size[0], 60, number % size[0] + 40, 100))
            images.append(image)
    if kind == "GIF":
        images = [image.quantize(128, dither=Image.Dither.NONE) for image in images]
    target = io.BytesIO()
    images[0].save(target, kind, save_all=True, append_images=images[1:], duration=60, **options)
    return target.getvalue()


MP4, WEBM = MediaType.MP4, MediaType.WEBM
HD, SD, SMALL, TINY = (1280, 720), (854, 480), (640, 360), (480, 360)
FAST = {"preset": "veryfast"}
REALTIME = {"deadline": "realtime", "cpu-used": "8"}
SAMPLES = (
    Sample("GIF, 60 frames", MediaType.GIF, lambda: animation("GIF", 60, TINY)),
    Sample("GIF, 200 frames, little moves", MediaType.GIF, lambda: animation("GIF", 200, TINY, still=True)),
    Sample("APNG, 100 frames", MediaType.PNG, lambda: animation("PNG", 100, TINY)),
    Sample("WebP, 100 frames", MediaType.WEBP, lambda: animation("WEBP", 100, TINY, quality=60, method=2)),
    Sample("AVIF, 100 frames", MediaType.AVIF, lambda: animation("AVIF", 100, TINY, speed=10)),
    Sample("MP4 H.264 720p, 10 s, a key a second", MP4, lambda: clip("mp4", "libx264", 300, HD, g="30", **FAST)),
    Sample("MP4 H.264 720p, 30 s", MP4, lambda: clip("mp4", "libx264", 900, HD, **FAST)),
    Sample("MP4 H.264 480p, 60 s, a key in 2 s", MP4, lambda: clip("mp4", "libx264", 1800, SD, g="60", **FAST)),
    Sample("MP4 H.264 360p, 5 min", MP4, lambda: clip("mp4", "libx264", 9000, SMALL, preset="ultrafast")),
    Sample("MP4 H.265 480p, 30 s", MP4, lambda: clip("mp4", "libx265", 900, SD, preset="ultrafast")),
    Sample("MP4 AV1 480p, 30 s", MP4, lambda: clip("mp4", "libsvtav1", 900, SD, preset="12")),
    Sample("WebM VP9 480p, 30 s", WEBM, lambda: clip("webm", "libvpx-vp9", 900, SD, **REALTIME)),
    Sample("WebM VP8 480p, 60 s", WEBM, lambda: clip("webm", "libvpx", 1800, SD, **REALTIME)),
)


def made(sample: Sample, folder: Path) -> bytes:
    """Return a sample, made at the first use."""
    path = folder / f"moving-{VERSION}-{sample.name.replace(' ', '_').replace(',', '')}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample.make())
    return path.read_bytes()


def looked(data: bytes, kind: MediaType, budget: int, seed: int) -> tuple[list[Frame], DecodeSummary]:
    """Look at a medium in this process, as a child would."""
    found: list[Frame] = []
    bounds = Bounds(NO_CAP, budget, time.monotonic() + 600, Random(seed))
    return found, decode(data, kind, bounds, Emitter(lambda frame, _width, _height: found.append(frame)))


def ours(data: bytes, kind: MediaType) -> list[Frame]:
    """Take this program's route; return the frames that would be judged."""
    found, went = looked(data, kind, BUDGET, 1)
    if went.problem is not None:
        raise SystemExit(f"{kind}: {went.problem}")
    return found


def every(data: bytes, kind: MediaType, wanted: frozenset[int] | None) -> None:
    """Decode every frame; make a picture for detectors of each, or of the wanted ones."""
    if kind.is_clip:
        with av.open(io.BytesIO(data), "r") as container:
            track = container.streams.video[0]
            track.codec_context.thread_count = 1
            for number, frame in enumerate(container.decode(track)):
                if wanted is None or number in wanted:
                    frame.reformat(*fit(frame.width, frame.height), "rgb24", interpolation="AREA").to_ndarray()
        return
    with Image.open(io.BytesIO(data)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            if wanted is None or number in wanted:
                rgb = image.convert("RGB")
                rgb.resize(fit(*rgb.size), Image.Resampling.BILINEAR).tobytes()


def compare_moving(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the three routes on every sample."""
    found: dict[str, Any] = {}
    sums = {"ours": 0.0, "every": 0.0, "decoded": 0.0}
    judged = 0
    headings = ("ours", "every", "times", "decoded", "times")
    print(f"{'frames judged a second of processor time':42}" + "".join(f"{heading:>10}" for heading in headings))
    for sample in SAMPLES:
        data = made(sample, options.work)
        frames = ours(data, sample.kind)
        wanted = frozenset(frame.index for frame in frames)
        spent: dict[str, list[float]] = {"ours": [], "every": [], "decoded": []}
        for _ in range(options.rounds):
            spent["ours"].append(seconds(partial(ours, data, sample.kind)))
            spent["every"].append(seconds(partial(every, data, sample.kind, None)))
            spent["decoded"].append(seconds(partial(every, data, sample.kind, wanted)))
        middle = {name: Spread(tuple(values)).median for name, values in spent.items()}
        for name in sums:
            sums[name] += middle[name]
        judged += len(frames)
        found[sample.name] = _moving_row(sample.name, len(frames), middle)
    found["all"] = _moving_row("all", judged, sums)
    return found


def _moving_row(name: str, count: int, spent: dict[str, float]) -> dict[str, Any]:
    rate = {way: count / taken for way, taken in spent.items()}
    over = {way: rate["ours"] / rate[way] for way in ("every", "decoded")}
    figures = (rate["ours"], rate["every"], over["every"], rate["decoded"], over["decoded"])
    print(f"{name:42}" + "".join(f"{figure:10.1f}" for figure in figures), flush=True)
    return {
        "frames": count,
        "frames_per_second": {way: round(value, 2) for way, value in rate.items()},
        "times": {way: round(value, 2) for way, value in over.items()},
    }


# --- (flash)
FLASH_FRAMES, FLASH_SIZE = 600, (320, 180)
FLASHERS: dict[str, tuple[MediaType, str, dict[str, str]]] = {
    "H.264, x264 veryfast": (MediaType.MP4, "libx264", {"preset": "veryfast"}),
    "H.264, x264 ultrafast, no scene keys": (MediaType.MP4, "libx264", {"preset": "ultrafast", "sc_threshold": "0"}),
    "H.265, x265 ultrafast": (MediaType.MP4, "libx265", {"preset": "ultrafast"}),
    "VP9, realtime": (MediaType.WEBM, "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "VP8, realtime": (MediaType.WEBM, "libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "AV1, SVT preset 12": (MediaType.MP4, "libsvtav1", {"preset": "12"}),
    "every frame a key (Motion JPEG)": (MediaType.QUICKTIME, "mjpeg", {}),
}
_FORMS = {MediaType.MP4: "mp4", MediaType.WEBM: "webm", MediaType.QUICKTIME: "mov"}


def flashed(kind: MediaType, codec: str, options: dict[str, str], number: int) -> tuple[bytes, int]:
    """Encode 20 s of panning photographs; one frame shows another picture. Return the clip and which frame that is."""
    at = 1 + int(np.random.default_rng(number).integers(FLASH_FRAMES - 2))
    other = photographs()[6 + number % 4].resize(FLASH_SIZE)
    target = io.BytesIO()
    with av.open(target, "w", _FORMS[kind]) as container:
        track: Any = container.add_stream(codec, rate=30, options=options)
        track.width, track.height = FLASH_SIZE
        track.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index, image in enumerate(scenes(FLASH_FRAMES, FLASH_SIZE, 150 + 10 * number)):
            shown = other if index == at else image
            container.mux(track.encode(av.VideoFrame.from_ndarray(np.asarray(shown), format="rgb24")))
        container.mux(track.encode(None))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # as root, SVT-AV1 takes real-time priority
    return target.getvalue(), at


def compare_flash(options: argparse.Namespace) -> dict[str, Any]:
    """Count how often the flashed frame is judged."""
    length = FLASH_FRAMES / 30
    stated = {budget: odds(1 / 30, length, budget) for budget in (BUDGET, 64)}
    print(f"one frame of {FLASH_FRAMES} ({length:g} s), {options.flash} clips of each; share of looks that judge it")
    print(f"{'':42}" + "".join(f"{f'{budget} frames':>14}" for budget in stated))
    drawn = {f"{budget}": round(value, 4) for budget, value in stated.items()}
    print(f"{'at least, by the sampled frames alone':42}" + "".join(f"{value:14.3f}" for value in stated.values()))
    found: dict[str, Any] = {"clips": options.flash, "drawn_alone": drawn}
    for name, (kind, codec, extra) in FLASHERS.items():
        hits = dict.fromkeys(stated, 0)
        for number in range(options.flash):
            data, at = flashed(kind, codec, extra, number)
            for budget in stated:
                frames, _ = looked(data, kind, budget, number)
                hits[budget] += at in {frame.index for frame in frames}
        shares = {f"{budget}": hits[budget] / options.flash for budget in stated}
        print(f"{name:42}" + "".join(f"{share:14.2f}" for share in shares.values()), flush=True)
        found[name] = shares
    return found


# --- (sandbox)
class InProcess:
    """The child's decoders without a child: what the sandbox is measured against. Not for untrusted media."""

    version = "in-process"

    def sniff(self, head: bytes) -> MediaType:
        """Tell the type."""
        return sniff(head)

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        """Decode a medium in this thread, within the same bounds as a child."""
        frames: list[Frame] = []
        sizes: list[tuple[int, int]] = []

        def emit(frame: Frame, width: int, height: int) -> None:
            frames.append(frame)
            sizes.append((width, height))

        first, caps = detail is Detail.COARSE, Caps()
        budget = (caps.frames if first else caps.more_frames), (caps.tiles if first else caps.more_tiles)
        bounds = Bounds(NO_CAP, budget[0], time.monotonic() + 60, Random(1), detail, budget[1])
        showing = Emitter(emit, bounds)
        went = showing.completed(decode(data, media_type, bounds, showing))
        if not frames:
            raise went.problem or RuntimeError("nothing was shown")
        return Decoded(media_type, *max(sizes), tuple(frames), None, first and (went.more or went.closer), went.total)

    def close(self) -> None:
        """Nothing to end."""


def scan_rate(engine: Engine, folder: Path, scratch: Path) -> float:
    """Make a dry pass into a fresh ledger; return images a second."""
    with tempfile.TemporaryDirectory(dir=scratch) as fresh:
        settings = load_settings(ledger=str(Path(fresh) / "ledger.db"))
        store = named_store(settings, str(folder))
        records = open_settings_ledger(settings)
        try:
            request = ScanRequest(store.url, dry_run=True)
            policy = load_policy(settings.policy)
            report = scan(settings, request, ledger=records, store=store, engine=engine, policy=policy)
        finally:
            records.dispose()
            store.close()
    return report.tally.judged / report.seconds


def compare_sandbox(options: argparse.Namespace) -> dict[str, Any]:
    """Scan the same folder with and without child processes, in turns."""
    folder = instance_corpus(options.work, options.scan_files)
    confined = open_engine(load_settings())
    free = replace(confined, decoder=InProcess())
    rates: dict[str, list[float]] = {"confined": [], "in-process": []}
    with tempfile.TemporaryDirectory() as name:
        try:
            for turn in range(options.rounds + 1):
                order: Sequence[tuple[str, Engine]] = [("confined", confined), ("in-process", free)]
                for way, engine in order if turn % 2 else reversed(order):
                    rate = scan_rate(engine, folder, Path(name))
                    if turn:  # the first one warms up
                        rates[way].append(rate)
        finally:
            confined.close()
    share = Spread(tuple(1 - a / b for a, b in zip(rates["confined"], rates["in-process"], strict=True)))
    for way, values in rates.items():
        print(f"scan, decoders {way}: {Spread(tuple(values)).text(1)} images a second")
    ends = f"{100 * min(share.values):.1f} to {100 * max(share.values):.1f}"
    print(f"the sandbox costs {100 * share.median:.1f} % [{ends}] of the images a second")
    return {
        "files": options.scan_files,
        "images_per_second": {way: Spread(tuple(values)).as_json() for way, values in rates.items()},
        "cost_share": share.as_json(),
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "jpeg": compare_jpeg,
    "moving": compare_moving,
    "flash": compare_flash,
    "sandbox": compare_sandbox,
}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; left out, all")
    parser.add_argument("--files", type=int, default=12, help="JPEG files of each size")
    parser.add_argument("--flash", type=int, default=20, help="clips of each coding with a flashed frame")
    parser.add_argument("--scan-files", type=int, default=300, help="files of a scan")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="little of everything: does it run at all")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for corpora (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}")
    if options.quick:
        options.files, options.flash, options.scan_files, options.rounds = 2, 1, 30, 1
    about = machine()
    print(machine_line(about))
    result: dict[str, Any] = {"benchmark": "media", "machine": about, "rounds": options.rounds}
    for part in options.parts or PARTS:
        result[part] = PARTS[part](options)
    write_result("media", result, options.out)


if __name__ == "__main__":
    main()
