"""The predecessor's own judge: the `horde-safety` library, its verdict as a signal. An extra, which brings torch.

Adds nothing to what the library says. The library fetches its weights by itself at its first start and sees the frame
that all detectors see, scaled down as the predecessor did.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import threading
import warnings
from collections.abc import Sequence
from typing import Any

from PIL import Image

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import ConfigError, ModelError, Unscannable
from fedi_safety.core.types import Evidence, Scored
from fedi_safety.detectors.sessions.devices import DeviceChoice
from fedi_safety.detectors.sessions.network import first_line

VARIABLE = "USE_NEW_SAFETY"
"""The predecessor's variable: whether its newer checker judges, which is the default."""

_INSTALL = "install the extra `horde` (fedi-safety[horde])"
_YES, _NO = frozenset({"true", "t", "yes", "y", "on", "1"}), frozenset({"false", "f", "no", "n", "off", "0"})
_LARGEST = (512, 512)
# What the predecessor tells the library of every picture.
_PICTURE = {"prompt": "", "model_info": {"nsfw": True, "tags": []}}


def use_new_safety(value: str | None) -> bool:
    """Read the predecessor's variable as it did. Raises `ConfigError`."""
    word = (value or "true").strip().lower()
    if word not in _YES | _NO:
        raise ConfigError(VARIABLE, f"{value!r} is neither true nor false", "set it to true or false")
    return word in _YES


class Horde:
    """The detector `horde`."""

    name = "horde"
    signals = ("horde.csam", "horde.nsfw")
    after: tuple[str, ...] = ()
    cost = 2000.0  # milliseconds for a frame on one thread; it asks two networks or more
    max_batch = 1

    def __init__(self, device: DeviceChoice, new: bool | None = None) -> None:
        """Load the library and its weights. Raises `ModelError` if it is not installed or does not start.

        `new` chooses its checker; left out, the predecessor's variable does.
        """
        self._new = use_new_safety(os.environ.get(VARIABLE)) if new is None else new
        if importlib.util.find_spec("horde_safety") is None:
            raise ModelError("detector 'horde'", "the library horde-safety is not installed", _INSTALL)
        where = "cuda" if device.name in ("cuda", "tensorrt") else "cpu" if device.name == "cpu" else None
        try:
            _quieten()
            interrogate = importlib.import_module("horde_safety.interrogate")
            self._interrogator: Any = interrogate.get_interrogator_no_blip(device=where)
            if self._new:
                danbooru = importlib.import_module("horde_safety.deep_danbooru_model")
                checker = importlib.import_module("horde_safety.nsfw_checker_class")
                self._checker: Any = checker.NSFWChecker(
                    self._interrogator, danbooru.get_deep_danbooru_model(device=where or "cpu")
                )
            else:
                self._check: Any = importlib.import_module("horde_safety.csam_checker").check_for_csam
        except Exception as error:
            raise ModelError(
                "detector 'horde'", f"horde-safety does not start ({first_line(error)})", _INSTALL
            ) from error
        self.version = f"horde-safety {_version()} {'new' if self._new else 'legacy'}"
        # The library keeps texts' features in module globals and counts on one caller at a time.
        self._lock = threading.Lock()

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Give `horde.csam` and `horde.nsfw`: 1 where the library says so, 0 where it does not."""
        return [self._one(evidence) for evidence in batch]

    def _one(self, evidence: Evidence) -> Scored:
        frame = evidence.frame
        image = Image.frombytes("RGB", (frame.width, frame.height), frame.rgb)
        image.thumbnail(_LARGEST)
        with self._lock:
            try:
                csam, nsfw = self._ask_new(image) if self._new else self._ask_legacy(image)
            except Unscannable:
                raise
            except Exception as error:
                raise Unscannable(Reason.DETECTOR_FAILED, f"horde-safety failed ({first_line(error)})") from error
        return Scored({"horde.csam": float(csam), "horde.nsfw": float(nsfw)})

    def _ask_new(self, image: Image.Image) -> tuple[bool, bool]:
        result = self._checker.check_for_nsfw(image=image, **_PICTURE)
        if result is None:
            raise Unscannable(Reason.DETECTOR_FAILED, "horde-safety gave no answer")
        return bool(result.is_csam), bool(result.is_nsfw)

    def _ask_legacy(self, image: Image.Image) -> tuple[bool, bool]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the library's own about this function
            is_csam, _similarities, found = self._check(interrogator=self._interrogator, image=image, **_PICTURE)
        return bool(is_csam), bool(found["found_lewd"])


def _quieten() -> None:
    """Keep the library's own messages off the terminal; it writes them with loguru, which it brings along."""
    if importlib.util.find_spec("loguru") is not None:
        importlib.import_module("loguru").logger.disable("horde_safety")


def _version() -> str:
    try:
        return importlib.metadata.version("horde-safety")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
