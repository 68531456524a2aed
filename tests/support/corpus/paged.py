"""Files of several pictures, and drawings, made by code: every page shows its own number (see `moving`)."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pillow_heif
from PIL import Image

from fedi_safety.core.enums import MediaType
from support.corpus.media_zoo import saved
from support.corpus.moving import numbered


@dataclass(frozen=True, slots=True)
class Paged:
    """A file and the place from 0 at which its subject stands; 0 of 1 for a drawing that has nothing embedded."""

    name: str
    data: bytes
    media_type: MediaType
    page: int
    pages: int


def tiff(pictures: Sequence[Image.Image], **options: Any) -> bytes:
    """Write a TIFF with a page for each picture; they may differ in size and mode."""
    return saved(pictures[0], "TIFF", save_all=True, append_images=list(pictures[1:]), **options)


def heic(pictures: Sequence[Image.Image], *, primary: int = 0) -> bytes:
    """Write a HEIC collection; viewers show `primary`."""
    file = pillow_heif.HeifFile()
    for one in pictures:
        file.add_from_pillow(one)
    memory = io.BytesIO()
    file.save(memory, primary_index=primary, quality=90)
    return memory.getvalue()


def avif(first: Image.Image, second: Image.Image, *, primary: int = 1) -> bytes:
    """Write an AVIF of two grey pictures that stand beside each other; viewers show number `primary`.

    It is written as one with transparency, and then the second is no longer said to be that of the first.
    """
    both = first.convert("RGB")
    both.putalpha(second.convert("L"))
    data = saved(both, "AVIF", quality=90, speed=9)
    assert data.count(b"auxl") == 1
    at = data.index(b"pitm") + 8
    return (data[:at] + struct.pack(">H", primary) + data[at + 2 :]).replace(b"auxl", b"none")


def pdf(pictures: Sequence[Image.Image]) -> bytes:
    """Write a document with a page for each picture."""
    return saved(pictures[0], "PDF", save_all=True, append_images=list(pictures[1:]))


def directories(data: bytes) -> list[int]:
    """Return where the directories of a little-endian classic TIFF begin."""
    found = []
    (at,) = struct.unpack_from("<I", data, 4)
    while at:
        found.append(at)
        at = next_directory(data, at)
    return found


def next_directory(data: bytes, at: int) -> int:
    """Return where a directory of such a TIFF says that the next one begins."""
    return int(struct.unpack_from("<I", data, _next_at(data, at))[0])


def chained(data: bytes, at: int, to: int) -> bytes:
    """Return such a TIFF with another place for the directory after the one there."""
    changed = bytearray(data)
    struct.pack_into("<I", changed, _next_at(data, at), to)
    return bytes(changed)


def _next_at(data: bytes, at: int) -> int:
    return int(at + 2 + 12 * struct.unpack_from("<H", data, at)[0])


def below(data: bytes, at: int) -> bytes:
    """Return such a TIFF in which the last page hangs below the directory there instead of in the chain.

    The tag that is given up for it is 305, the name of the software: the file must have been written with one.
    """
    places = directories(data)
    changed = bytearray(chained(data, places[-2], 0))
    (count,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == 305:
            struct.pack_into("<HHII", changed, entry, 330, 4, 1, places[-1])
            return bytes(changed)
    raise ValueError("no tag 305")


def svg(body: str, *, attributes: str = 'width="160" height="96"', before: str = "") -> bytes:
    """Write a drawing."""
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"{before}<svg {names} {attributes}>{body}</svg>".encode()


def address(data: bytes, kind: str = "image/png") -> str:
    """Return a file as a `data:` address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def embedded(data: bytes, kind: str = "image/png", *, more: str = "") -> str:
    """Return an element that shows a picture over the whole drawing."""
    return f'<image width="160" height="96" xlink:href="{address(data, kind)}" {more}/>'


CIRCLE = '<rect width="160" height="96" fill="#dcdcdc"/><circle cx="80" cy="48" r="40" fill="#dc1e1e"/>'


def zoo(subject: Image.Image, *, pages: int = 5) -> list[Paged]:
    """Return files that show `subject` on one of their pages, each of another one, and numbers on the others."""
    makers: dict[str, tuple[MediaType, Callable[[list[Image.Image]], bytes]]] = {
        "tiff": (MediaType.TIFF, tiff),
        "tiff-lzw": (MediaType.TIFF, lambda all_: tiff(all_, compression="tiff_lzw")),
        "tiff-deflate": (MediaType.TIFF, lambda all_: tiff(all_, compression="tiff_adobe_deflate")),
        "tiff-jpeg": (MediaType.TIFF, lambda all_: tiff(all_, compression="jpeg")),
        "tiff-big": (MediaType.TIFF, lambda all_: tiff(all_, big_tiff=True)),
        "heic": (MediaType.HEIC, heic),
        "pdf": (MediaType.PDF, pdf),
    }
    found = []
    for name, (kind, make) in makers.items():
        for page in (1, pages // 2, pages - 1):
            pictures = [numbered(i) for i in range(pages)]
            pictures[page] = subject.convert("RGB")
            found.append(Paged(f"{name}-page-{page + 1}-of-{pages}", make(pictures), kind, page, pages))
    picture = saved(subject.convert("RGB"), "PNG")
    hidden = embedded(picture, more='opacity="0"')
    for name, body, page in (("svg-embedded", embedded(picture), 0), ("svg-hidden", CIRCLE + hidden, 1)):
        found.append(Paged(name, svg(body), MediaType.SVG, page, 2))
    return found
