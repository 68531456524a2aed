"""Decodes one medium of any kind: stills, animations, clips, and files that are more than one of them. Child only."""

from __future__ import annotations

from dataclasses import replace

from fedi_safety.core.enums import MediaType
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Place
from fedi_safety.media.decoder.formats.animation import decode_animation
from fedi_safety.media.decoder.formats.icon import decode_icon
from fedi_safety.media.decoder.formats.images import decode_still
from fedi_safety.media.decoder.formats.multipage import decode_pages
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.structure.hidden import find, show_further
from fedi_safety.media.decoder.structure.probe import has_track

# Formats whose pictures some viewers turn as EXIF says, and others do not.
_NOT_ALWAYS_TURNED = frozenset({MediaType.WEBP, MediaType.PNG})


def decode(data: bytes, media_type: MediaType, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    """Show what is in a file: its medium, then what else it is. Raises `Unscannable` or `MemoryError`.

    Where the medium itself shows nothing, the rest is not looked at: a good thumbnail must not speak for a bad picture.
    """
    if media_type in (MediaType.SVG, MediaType.PDF):  # what is embedded in these is a part of them
        return _medium(data, media_type, bounds, showing)
    further = find(data, media_type)
    went = _medium(data, media_type, bounds, showing)
    return show_further(data, further, bounds, showing, went, _medium) if showing.shown else went


def _medium(data: bytes, media_type: MediaType, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    if media_type is MediaType.SVG:
        return _drawing(data, bounds, showing)
    if media_type is MediaType.PDF:
        return _document(data, bounds, showing)
    if media_type.is_clip:
        return _clip(data, media_type, bounds, showing)
    if media_type is MediaType.ICO:
        return decode_icon(data, bounds, showing)
    moving = decode_animation(data, media_type, bounds, showing)
    if moving is not None:
        return moving
    if media_type in (MediaType.AVIF, MediaType.HEIC) and has_track(data):
        return _with_track(data, media_type, bounds, showing)
    return _still(data, media_type, bounds, showing)


def _still(data: bytes, media_type: MediaType, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    pages = decode_pages(data, media_type, bounds, showing)
    if pages is not None:
        return pages
    whole = showing.part is not None  # of what is in a file besides its medium, pieces are nothing
    still = decode_still(data, media_type, bounds.max_pixels, bounds.detail, bounds.tiles, only_whole=whole)
    showing.show(0, Place(), still, on_black_index=1)
    if media_type in _NOT_ALWAYS_TURNED and (as_stored := still.as_stored) is not None:
        showing.show(2, Place(), as_stored, on_black_index=3, picture=0)
    return DecodeSummary(problem=still.problem)


def _with_track(data: bytes, media_type: MediaType, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    """Show a picture and the track that it has besides: which of them a viewer shows is the viewer's to choose."""
    still = DecodeSummary()
    try:
        still = _still(data, media_type, bounds, showing)
    except Unscannable as refusal:
        still = DecodeSummary(problem=refusal)
    showing.base += 2 * still.total
    try:
        went = _clip(data, media_type, bounds, showing)
    except Unscannable as refusal:
        return replace(still, problem=still.problem or refusal)
    return replace(went, more=went.more or still.more, problem=still.problem or went.problem)


def _clip(data: bytes, media_type: MediaType, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    from fedi_safety.media.decoder.formats.video import decode_clip

    return decode_clip(data, media_type, bounds, showing)


def _drawing(data: bytes, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    from fedi_safety.media.decoder.formats.svg import decode_drawing

    return decode_drawing(data, bounds, showing)


def _document(data: bytes, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    from fedi_safety.media.decoder.formats.pdf import decode_document

    return decode_document(data, bounds, showing)
