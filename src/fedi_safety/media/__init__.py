"""Media: told apart by content (`sniff`), decoded to frames in child processes (`SandboxDecoder`), within `Caps`.

Nothing here imports an imaging library; only the children do.
"""

from fedi_safety.media.caps import Caps
from fedi_safety.media.pool import DecoderError, SandboxDecoder
from fedi_safety.media.sniff import sniff

__all__ = ["Caps", "DecoderError", "SandboxDecoder", "sniff"]
