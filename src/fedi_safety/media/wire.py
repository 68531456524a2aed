"""The words that parent and child exchange: fixed structs on a SOCK_SEQPACKET pair, media and pixels in memfds.

A request is answered by any number of FRAMEs, each about pixels in the next slot of the child's memory, and one END. No
pickle, nothing of variable shape but a bounded detail. The parent validates every number (`sandbox`).
"""

from __future__ import annotations

import struct

from fedi_safety.core.types import MediaType, Part, Reason
from fedi_safety.media.caps import MAX_FRAME_PIXELS

MAGIC = b"fsmedia2"
READY = struct.Struct("<8sI")  # magic, bits of PROTECTIONS
REQUEST = struct.Struct("<QQBHQ")  # sequence number, length of the medium in bytes, index into KINDS, frames, seed

# Tag, sequence, index, milliseconds from the beginning or -1, page, track, index into PARTS, whether on black,
# true width, height, frame width, height.
FRAME = struct.Struct("<BQIqIBBBIIII")
# Tag, sequence, index into STATUSES, whether there is more to look at, all frames of the medium, detail size.
END = struct.Struct("<BQBBIH")
FRAME_TAG, END_TAG = 1, 2

MAX_DETAIL_BYTES = 400
MAX_ANSWER_BYTES = max(FRAME.size, END.size + MAX_DETAIL_BYTES)
SLOT_BYTES = MAX_FRAME_PIXELS * 3  # a multiple of every page size up to 64 KiB, as mapping one needs
NO_TIME = -1
MOST_TIME = 1 << 50
MOST = (1 << 32) - 1  # of any count on the wire

KINDS = (
    MediaType.JPEG,
    MediaType.PNG,
    MediaType.GIF,
    MediaType.WEBP,
    MediaType.BMP,
    MediaType.TIFF,
    MediaType.AVIF,
    MediaType.HEIC,
    MediaType.JXL,
    MediaType.SVG,
    MediaType.PDF,
    MediaType.MP4,
    MediaType.QUICKTIME,
    MediaType.MATROSKA,
    MediaType.WEBM,
    MediaType.OGG,
    MediaType.AVI,
)

PARTS = tuple(Part)

# None: all went well. A child can say nothing else of a medium, or of the rest of it once there are frames.
STATUSES = (
    None,
    Reason.UNSUPPORTED,
    Reason.CORRUPT,
    Reason.TRUNCATED,
    Reason.TOO_LARGE,
    Reason.TOO_SLOW,
    Reason.EMPTY,
)

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
