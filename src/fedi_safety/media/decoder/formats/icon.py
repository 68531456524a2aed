"""Icons: the pictures of their directory, each a PNG or a BMP without its head. Runs in the child only."""

from __future__ import annotations

import struct

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.decoder.formats.images import decode_still
from fedi_safety.media.decoder.formats.multipage import show_pages
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.frames.still import Still
from fedi_safety.media.decoder.guards import refuse_bomb
from fedi_safety.media.decoder.structure.probe import ICON_ENTRY, icon_entries

_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct("<Iii")  # of a bitmap: its length, width, and height, together with that of the mask below it


def decode_icon(data: bytes, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    """Show each picture, the largest first: it is what viewers take. Raises `Unscannable` or `MemoryError`.

    Which size the directory says a picture has is not believed.
    """
    pictures = list(dict.fromkeys(data[start:end] for start, end in icon_entries(data)))
    if not pictures:
        raise Unscannable(Reason.TRUNCATED, "there is no picture in it")
    pictures.sort(key=_pixels, reverse=True)
    whole = showing.part is not None

    def page(index: int) -> Still:
        picture = pictures[index]
        refuse_bomb(_pixels(picture), bounds.max_pixels)
        is_png = picture.startswith(_PNG)
        kind = MediaType.PNG if is_png else MediaType.ICO
        return decode_still(
            picture if is_png else _alone(picture),
            kind,
            bounds.max_pixels,
            bounds.detail,
            bounds.tiles,
            only_whole=whole,
        )

    return show_pages(len(pictures), page, bounds, showing)


def _pixels(picture: bytes) -> int:
    if picture.startswith(_PNG) and len(picture) >= 24:
        width, height = struct.unpack_from(">II", picture, 16)
        return int(width * height)
    if len(picture) < _HEADER.size:
        return 0
    _, width, height = _HEADER.unpack_from(picture)
    return int(abs(width) * (abs(height) // 2))


def _alone(picture: bytes) -> bytes:
    """Return an icon with one bitmap, of the size that this one has."""
    if len(picture) < _HEADER.size + 4:
        raise Unscannable(Reason.TRUNCATED, "it ends in the head of a picture")
    _, width, height = _HEADER.unpack_from(picture)
    bits = int.from_bytes(picture[14:16], "little")
    # Sides of 256 and more are written as 0 there; how long they are, the bitmap's own head says.
    sides = (abs(width) if abs(width) < 256 else 0, abs(height) // 2 if abs(height) < 512 else 0)
    entry = ICON_ENTRY.pack(*sides, 0, 0, 1, bits, len(picture), 6 + ICON_ENTRY.size)
    return b"\0\0\1\0\1\0" + entry + picture
