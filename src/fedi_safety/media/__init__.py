"""Media: told apart by content (`sniff`), decoded to frames in child processes (`SandboxDecoder`), within `Caps`.

Nothing here imports an imaging library; only the children do. They in turn need nothing of what starts them, which
would take a third of their own start: that is loaded when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fedi_safety.media.caps import Caps
from fedi_safety.media.sniff import sniff

if TYPE_CHECKING:
    from fedi_safety.media.pool import DecoderError, SandboxDecoder

__all__ = ["Caps", "DecoderError", "SandboxDecoder", "sniff"]


def __getattr__(name: str) -> object:
    if name not in ("DecoderError", "SandboxDecoder"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("fedi_safety.media.pool"), name)
