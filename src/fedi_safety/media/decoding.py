"""Decodes one medium of any kind: stills, animations, clips, and files that are more than one of them. Child only."""

from __future__ import annotations

from dataclasses import replace

from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import MediaType, Place
from fedi_safety.media.animation import decode_animation
from fedi_safety.media.embedded import find, show_further
from fedi_safety.media.extent import has_track
from fedi_safety.media.showing import Bounds, Showing, Shown
from fedi_safety.media.stills import decode_still


def decode(data: bytes, media_type: MediaType, bounds: Bounds, showing: Showing) -> Shown:
    """Show what is in a file: its medium, then what else it is. Raises `Unscannable` or `MemoryError`.

    Where the medium itself shows nothing, the rest is not looked at: a good thumbnail must not speak for a bad picture.
    """
    further = find(data, media_type)
    went = _medium(data, media_type, bounds, showing)
    return show_further(data, further, bounds, showing, went, _medium) if showing.shown else went


def _medium(data: bytes, media_type: MediaType, bounds: Bounds, showing: Showing) -> Shown:
    if media_type.is_clip:
        return _clip(data, media_type, bounds, showing)
    moving = decode_animation(data, media_type, bounds, showing)
    if moving is not None:
        return moving
    if media_type in (MediaType.AVIF, MediaType.HEIC) and has_track(data):
        return _with_track(data, media_type, bounds, showing)
    _still(data, media_type, bounds, showing)
    return Shown()


def _still(data: bytes, media_type: MediaType, bounds: Bounds, showing: Showing) -> None:
    showing.show(0, Place(), decode_still(data, media_type, bounds.max_pixels), on_black_index=1)


def _with_track(data: bytes, media_type: MediaType, bounds: Bounds, showing: Showing) -> Shown:
    """Show a picture and the track that it has besides: which of them a viewer shows is the viewer's to choose."""
    problem: Unscannable | None = None
    try:
        _still(data, media_type, bounds, showing)
    except Unscannable as refusal:
        problem = refusal
    showing.base += 2
    try:
        went = _clip(data, media_type, bounds, showing)
    except Unscannable as refusal:
        return Shown(problem=problem or refusal)
    return replace(went, problem=problem or went.problem)


def _clip(data: bytes, media_type: MediaType, bounds: Bounds, showing: Showing) -> Shown:
    from fedi_safety.media.clips import decode_clip  # FFmpeg takes a tenth of a second to load

    return decode_clip(data, media_type, bounds, showing)
