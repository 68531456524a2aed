"""Files of several pages, drawings with pictures inside, and files that are several things: the subject in one."""

from __future__ import annotations

from collections.abc import Iterator

from fedi_safety.core.enums import MediaType
from support.corpus import compound, paged
from support.corpus.zoo.subject import Item, subject


def pages() -> Iterator[Item]:
    """Yield files that show the subject on one of their pages; a drawing may show it with what is embedded in it."""
    for one in paged.zoo(subject()):
        frames = {*range(2 * one.pages)} if one.media_type is MediaType.SVG else {one.page, one.page + one.pages}
        yield Item("pages of TIFF, HEIC, PDF; SVG", one.name, one.data, one.media_type, frozenset(frames))


def hiding_places() -> Iterator[Item]:
    """Yield harmless files in or behind which the subject is hidden: thumbnails, comments, clips, appended media."""
    for one in compound.hiding():
        yield Item("further media", one.name, one.data, one.media_type, part=one.part)
