"""The words that parent and child exchange: fixed structs on a SOCK_SEQPACKET pair, media and pixels in memfds.

No pickle, nothing of variable shape but a bounded detail. The parent validates every number (`sandbox`).
"""

from __future__ import annotations

import struct

from fedi_safety.core.types import MediaType, Reason
from fedi_safety.media.caps import MAX_FRAME_PIXELS

MAGIC = b"fsmedia1"
READY = struct.Struct("<8sI")  # magic, bits of PROTECTIONS
REQUEST = struct.Struct("<QQB")  # sequence number, length of the medium in bytes, index into STILLS
REPLY = struct.Struct("<QBIIIIH")  # sequence, index into STATUSES, true width, height, frame width, height, detail size
MAX_DETAIL_BYTES = 400
MAX_REPLY_BYTES = REPLY.size + MAX_DETAIL_BYTES
OUTPUT_BYTES = MAX_FRAME_PIXELS * 3

STILLS = (
    MediaType.JPEG,
    MediaType.PNG,
    MediaType.GIF,
    MediaType.WEBP,
    MediaType.BMP,
    MediaType.TIFF,
    MediaType.AVIF,
    MediaType.HEIC,
    MediaType.JXL,
)

# None stands for a decoded frame. A child can say nothing else of a medium.
STATUSES = (None, Reason.UNSUPPORTED, Reason.CORRUPT, Reason.TRUNCATED, Reason.TOO_LARGE)

PROTECTIONS = (
    "memory is limited",
    "processor time is limited",
    "no file can grow",
    "no core dump",
    "few file descriptors",
    "no new privileges",
    "memory closed to other processes",
    "ends with its parent",
    "first to go when memory runs out",
    "no network, no new process, no file opened for writing",
)


def cut_text(text: str, limit: int = MAX_DETAIL_BYTES) -> bytes:
    """Return `text` as UTF-8 of at most `limit` bytes, cut between characters."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").encode()
