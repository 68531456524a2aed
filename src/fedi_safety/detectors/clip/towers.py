"""The two networks of a CLIP model: pictures and texts to vectors of unit length.

Runs batches of whatever size the memory allows and finds that size by itself. What a vector means is not known here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import DeviceError, ModelError, Unscannable
from fedi_safety.core.types import Frame
from fedi_safety.detectors.clip.folder import OPENVINO, Plan
from fedi_safety.detectors.clip.preprocess import Preprocess, read_preprocess
from fedi_safety.detectors.clip.tokens import Tokenizer, Tokens
from fedi_safety.detectors.sessions.devices import CPU_PROVIDER, DeviceChoice
from fedi_safety.detectors.sessions.network import Floats, Network, OutOfMemory, Port
from fedi_safety.detectors.sessions.onnx import open_session
from fedi_safety.detectors.sessions.resting import Resting
from fedi_safety.models.folder import ModelFolder
from fedi_safety.service.heap import give_memory_back

log = logging.getLogger(__name__)

_AGAIN = "fetch or import the model anew"
# Where batches begin. On a processor larger ones gain nothing and cost memory; a GPU needs them.
_FIRST_BATCH = {True: 8, False: 64}
_TEXTS_AT_ONCE = 32


class VisualTower:
    """The network for pictures. Thread-safe.

    It is loaded when this is made, so that everything that can be wrong comes up then, and again after it was unloaded.
    """

    def __init__(
        self,
        plan: Plan,
        device: DeviceChoice,
        threads: int,
        *,
        batch: int = 0,
        unload_after_s: float = 0.0,
        cache: Path | None = None,
    ) -> None:
        """Load the tower. `batch` is the most pictures at once, 0 to find it; `cache` a folder for what loads faster.

        Raises `ModelError` or `DeviceError`.
        """
        folder = plan.folder
        self.plan = plan
        self.preprocess: Preprocess = read_preprocess(
            folder.preprocess, str(folder.path / "visual/preprocess_cfg.json"), _image_side(folder)
        )
        self.dim = folder.dim
        self.image_size = self.preprocess.side
        self.version = plan.name
        self._device = device
        self._threads = threads
        self._cache = cache
        self._limit = batch or _FIRST_BATCH[device.on_processor]
        self._lock = threading.Lock()
        # On a GPU one batch at a time: two would share its units and double the memory.
        self._turn = nullcontext() if device.on_processor else threading.Lock()
        self._output: str | None = None
        self._network: Resting[Network] = Resting(self._load, unload_after_s, give_memory_back)
        with self._network.use():
            pass

    @property
    def max_batch(self) -> int:
        """How many pictures the network gets at once; less after it ran out of memory."""
        return self._limit

    @property
    def loaded(self) -> bool:
        """Whether the network is in memory at the moment."""
        return self._network.awake

    def embed(self, frames: Sequence[Frame]) -> Floats:
        """Return a vector of unit length for each frame: (frames, dim).

        Raises `Unscannable` if the network gives no finite numbers, `DeviceError` if the device is lost or has not the
        memory for a single picture.
        """
        if not frames:
            return np.empty((0, self.dim), np.float32)
        parts: list[Floats] = []
        with self._network.use() as network:
            at = 0
            while at < len(frames):
                some = frames[at : at + self._limit]
                with network.room((len(some), *self.preprocess.shape)) as values:
                    self.preprocess.fill(some, values)
                    parts += self._vectors(network, values)
                at += len(some)
        return unit_length(np.concatenate(parts))

    def _vectors(self, network: Network, values: Floats) -> list[Floats]:
        """Run prepared pictures, all at once or in as many portions as the memory needs."""
        parts: list[Floats] = []
        at = 0
        while at < len(values):
            part = values[at : at + self._limit]
            try:
                with self._turn:
                    parts.append(_run(network, part, self._output))
            except OutOfMemory as error:
                self._halve(len(part), error)
                continue
            at += len(part)
        return parts

    def close(self) -> None:
        """Unload the network; a later use loads it again."""
        self._network.close()

    def _halve(self, tried: int, error: OutOfMemory) -> None:
        """Remember that a batch was too large. Raises `DeviceError` if it was a single picture."""
        if tried <= 1:
            raise DeviceError(
                f"device {self._device.name!r}",
                f"out of memory with a single picture in {self.version} ({error.detail})",
                "free some, or take a smaller model or another precision; what is left is judged by the next run",
            ) from error
        with self._lock:
            self._limit = max(1, min(self._limit, tried // 2))
        log.warning("clip: out of memory with %d pictures at once; from now on %d", tried, self._limit)

    def _load(self) -> Network:
        plan = self.plan
        if plan.runtime == OPENVINO:
            from fedi_safety.detectors.sessions.openvino import OpenVino

            cache = None if self._cache is None else self._cache / "openvino" / plan.folder.name / plan.file.stem
            network: Network = OpenVino(
                plan.file, plan.unit, plan.variant, self._threads, _AGAIN, cache=cache, key=plan.digest
            )
        else:
            network = open_session(
                plan.file, self._device, self._threads, _AGAIN, keep_memory=True, half=plan.variant == "fp16"
            )
        output = _check_visual(network, plan, self.image_size)
        # The first run costs more than others, and shows whether there will be any.
        blank = np.zeros((1, *self.preprocess.shape), np.float32)
        try:
            _run(network, blank, output)
        except OutOfMemory as error:
            self._halve(len(blank), error)
        except Unscannable as error:
            raise ModelError(str(plan.file), f"fails on a black picture ({error.detail})", _AGAIN) from error
        self._output = output
        return network


class TextualTower:
    """The network for texts, on the processor. Loaded for one call of `embed` and then dropped: it is needed once."""

    def __init__(self, folder: ModelFolder, threads: int) -> None:
        """Take the model; nothing is loaded yet."""
        self._folder = folder
        self._threads = threads

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return a vector of unit length for each text: (texts, dim).

        Raises `ConfigError` for a text that is too long, `ModelError` if tokenizer or network cannot be used.
        """
        try:
            return self._embed(Tokenizer(self._folder)(texts))
        finally:
            give_memory_back()

    def _embed(self, tokens: Tokens) -> Floats:
        folder = self._folder
        device = DeviceChoice("cpu", (CPU_PROVIDER,), "texts are embedded on the processor")
        network = open_session(folder.textual, device, self._threads, _AGAIN, keep_memory=True)
        output = _check_textual(network, folder)
        whole = tokens.astype(network.input.dtype, copy=False)
        log.info("clip: embedding %d texts, once for this model", len(tokens))
        try:
            parts = [
                _run(network, whole[at : at + _TEXTS_AT_ONCE], output) for at in range(0, len(whole), _TEXTS_AT_ONCE)
            ]
        except Unscannable as error:
            raise ModelError(str(folder.textual), f"fails on a text ({error.detail})", _AGAIN) from error
        return unit_length(np.concatenate(parts))


def unit_length(vectors: Floats) -> Floats:
    """Scale each row to length 1. A row without a direction is no answer: `Unscannable`."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (lengths > 1e-12).all():
        raise Unscannable(Reason.DETECTOR_FAILED, "the network gave a vector of zeros")
    return cast("Floats", vectors / lengths)


def _run(network: Network, batch: NDArray[np.generic], output: str | None) -> Floats:
    """Run a batch; a graph that was written down for a fixed number of rows gets them in such portions."""
    rows = network.input.shape[0]
    if rows is None or rows == len(batch):
        return network.run(batch, output)
    parts: list[Floats] = []
    for at in range(0, len(batch), rows):
        part = batch[at : at + rows]
        filled = np.concatenate([part, np.repeat(part[-1:], rows - len(part), axis=0)])
        parts.append(network.run(filled, output)[: len(part)])
    return np.concatenate(parts)


def _image_side(folder: ModelFolder) -> int | None:
    """Return the image size of the architecture, where it names one for both sides."""
    size = folder.config["vision_cfg"].get("image_size")
    if isinstance(size, list) and len(set(size)) == 1:
        size = size[0]
    return size if isinstance(size, int) else None


def _check_visual(network: Network, plan: Plan, side: int) -> str:
    """Return the output that holds the embedding. Raises `ModelError` if the graph does not fit its folder."""
    refuse = _refuser(str(plan.file))
    port = network.input
    if port.dtype != np.float32 or len(port.shape) != 4:
        raise refuse(f"its input {_shape(port)} is not pictures as float32 (N, 3, {side}, {side})")
    for found, expected in zip(port.shape[1:], (3, side, side), strict=True):
        if found not in (None, expected):
            raise refuse(f"its input {_shape(port)} is not (N, 3, {side}, {side}), as preprocess_cfg.json has it")
    return _embedding_of(network, plan.folder.dim, refuse)


def _check_textual(network: Network, folder: ModelFolder) -> str:
    refuse = _refuser(str(folder.textual))
    port, context = network.input, folder.context_length
    if port.dtype not in (np.int32, np.int64) or len(port.shape) != 2:
        raise refuse(f"its input {_shape(port)} is not tokens as whole numbers (N, {context})")
    if port.shape[1] not in (None, context):
        raise refuse(f"its input {_shape(port)} is not (N, {context}), as config.json has it")
    return _embedding_of(network, folder.dim, refuse)


def _embedding_of(network: Network, dim: int, refuse: Callable[[str], ModelError]) -> str:
    """Find the output (N, dim). Of several the one that is called so."""
    fitting = [port for port in network.outputs if len(port.shape) == 2 and port.shape[1] in (None, dim)]
    named = [port for port in fitting if "embed" in port.name]
    for candidates in (named, fitting):
        if len(candidates) == 1:
            return candidates[0].name
    shapes = ", ".join(f"{port.name} {_shape(port)}" for port in network.outputs)
    raise refuse(f"of its outputs ({shapes}) none, or more than one, is (N, {dim}), as config.json has it")


def _refuser(source: str) -> Callable[[str], ModelError]:
    return lambda cause: ModelError(source, f"the network does not fit its model: {cause}", _AGAIN)


def _shape(port: Port) -> str:
    return f"({', '.join('N' if size is None else str(size) for size in port.shape)})"
