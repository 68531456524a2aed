"""The words that parent and child exchange: fixed structs on a SOCK_SEQPACKET pair, media and pixels in memfds.

A request is answered by any number of FRAMEs, each about pixels in the next slot of the child's memory, and one END.
The slots are used in turn, so the parent says TAKEN after every few frames: none is written to before. No pickle,
nothing of variable shape but a bounded detail. The parent validates every number (`pool`).
"""

from __future__ import annotations

import struct

from fedi_safety.core.enums import Detail, MediaType, Reason
from fedi_safety.core.frames.places import Part
from fedi_safety.media.caps import MAX_FRAME_PIXELS

MAGIC = b"fsmedia5"
READY = struct.Struct("<8sI")  # magic, bits of PROTECTIONS
# Sequence number, length of the medium in bytes, index into KINDS, index into LOOKS, frames, tiles, seed.
REQUEST = struct.Struct("<QQBBHHQ")

# Tag, sequence, index, that of the frame which shows the picture whole, milliseconds from the beginning or -1, page,
# track, index into PARTS, bits of HOW, whether without its border, quarters of a turn; a tile's number, how many
# there are, its edges in thousandths, all 0 for the whole; true width, height, frame width, height.
FRAME = struct.Struct("<BQIIqIBBBBBIIHHHHIIII")
# Tag, sequence, index into STATUSES, bits of what more there is to look at, all frames of the medium, detail size.
END = struct.Struct("<BQBBIH")
ON_BLACK, OPAQUE, COMPARED = 1, 2, 4  # HOW: the last is shown to no detector
MOST_HOW = ON_BLACK | OPAQUE | COMPARED
MORE, CLOSER = 1, 2  # further moments; further views of stills
FRAME_TAG, END_TAG = 1, 2

MAX_DETAIL_BYTES = 400
MAX_ANSWER_BYTES = max(FRAME.size, END.size + MAX_DETAIL_BYTES)
SLOT_BYTES = MAX_FRAME_PIXELS * 3  # a multiple of every page size up to 64 KiB, as mapping one needs
SLOTS = 8
OUTPUT_BYTES = SLOTS * SLOT_BYTES
TAKEN = b"t"
FRAMES_PER_TAKEN = SLOTS // 2
NO_TIME = -1
MOST_TIME = 1 << 50
MOST = (1 << 32) - 1  # of any count on the wire
MOST_INDEX = (1 << 31) - 1  # of a frame: what the ledger keeps of it

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
    MediaType.ICO,
)

PARTS = tuple(Part)
DETAILS = tuple(Detail)
WHOLE = (0,) * 6  # instead of a tile

# None: all went well. A child can say nothing else of a medium, or of the rest of it once there are frames.
STATUSES = (
    None,
    Reason.UNSUPPORTED,
    Reason.CORRUPT,
    Reason.TRUNCATED,
    Reason.TOO_LARGE,
    Reason.TOO_SLOW,
    Reason.EMPTY,
    Reason.NOT_MEDIA,
)

LANDLOCK_PROTECTION = "no file opened but its libraries"  # many a kernel still lacks it
PROTECTIONS = (
    "memory is limited",
    "processor time is limited",
    "no file can grow",
    "no core dump",
    "few file descriptors",
    "no new privileges",
    "memory closed to other processes",
    "ends with its parent",
    "no rights of root",
    "first to go when memory runs out",
    "no network, no new process, no file opened for writing",
    LANDLOCK_PROTECTION,
)


def cut_text(text: str, limit: int = MAX_DETAIL_BYTES) -> bytes:
    """Return `text` as UTF-8 of at most `limit` bytes, cut between characters."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").encode()
