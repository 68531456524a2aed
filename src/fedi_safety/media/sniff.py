"""Tells media types by their first bytes. Names and claimed types play no part; nothing is decoded here.

Only the standard library, no state: it runs in the parent process on untrusted bytes.
"""

from __future__ import annotations

import re

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable

_PREFIXES = (
    (b"\xff\xd8\xff", MediaType.JPEG),
    (b"\x89PNG\r\n\x1a\n", MediaType.PNG),
    (b"GIF87a", MediaType.GIF),
    (b"GIF89a", MediaType.GIF),
    (b"II*\0", MediaType.TIFF),
    (b"MM\0*", MediaType.TIFF),
    (b"II+\0\x08\0\0\0", MediaType.TIFF),  # BigTIFF: offsets of 8 bytes, then zero
    (b"MM\0+\0\x08\0\0", MediaType.TIFF),
    (b"\xff\x0a", MediaType.JXL),
    (b"\0\0\0\x0cJXL \r\n\x87\n", MediaType.JXL),
    (b"OggS", MediaType.OGG),
    (b"%PDF-", MediaType.PDF),
)

# Media that have no name in `MediaType`. They must not pass for 'not media': an administrator wants to know of them.
_FOREIGN = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 codestream"),
    (b"8BPS\0", "a Photoshop document"),
    (b"qoif", "a QOI picture"),
    (b"gimp xcf ", "a GIMP document"),
    (b"\0\0\1\0", "an icon"),
    (b"FLV\1", "a Flash clip"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media clip"),
    (b"\0\0\1\xba", "an MPEG clip"),
    (b"\0\0\1\xb3", "an MPEG clip"),
)

_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
)
_QUICKTIME_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_EBML = b"\x1a\x45\xdf\xa3"
_DOCTYPE = re.compile(rb"\x42\x82[\x80-\xff]?\x00*(webm|matroska)")
# What may stand before the root element of an SVG: blanks, an XML declaration or instruction, comments, a doctype.
_XML_PROLOG = re.compile(rb"(?:\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>)", re.DOTALL | re.IGNORECASE)
_SVG_ROOT = re.compile(rb"<(?:[A-Za-z_][\w.-]{0,32}:)?svg[\s>/]")


def sniff(head: bytes) -> MediaType:
    """Return the type of the medium whose first bytes are `head` (4096 of them tell everything there is to tell).

    Raises `Unscannable`: `empty` for no bytes, `unsupported` for media of kinds that are not decoded here, `not_media`
    for all else.
    """
    if not head:
        raise Unscannable(Reason.EMPTY, "no bytes at all")
    for prefix, what in _FOREIGN:
        if head.startswith(prefix):
            raise Unscannable(Reason.UNSUPPORTED, f"{what} is not decoded")
    media_type = _identify(head)
    if media_type is None:
        raise Unscannable(Reason.NOT_MEDIA, "no known signature of a picture or clip")
    return media_type


def _identify(head: bytes) -> MediaType | None:
    for prefix, media_type in _PREFIXES:
        if head.startswith(prefix):
            return media_type
    if head[4:8] == b"ftyp":
        return _by_brands(head)
    if head[:4] == b"RIFF":
        return {b"WEBP": MediaType.WEBP, b"AVI ": MediaType.AVI}.get(head[8:12])
    if head[:4] == _EBML:
        doctype = _DOCTYPE.search(head[:256])
        return MediaType.WEBM if doctype is not None and doctype[1] == b"webm" else MediaType.MATROSKA
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return MediaType.BMP
    if head[4:8] in _QUICKTIME_ATOMS:  # QuickTime files from before there was an `ftyp`
        return MediaType.QUICKTIME
    return MediaType.SVG if _is_svg(head) else None


def _by_brands(head: bytes) -> MediaType:
    """Tell apart the heirs of the ISO base media file format by their brands, the major one first."""
    size = int.from_bytes(head[:4], "big")
    major = head[8:12]
    compatible = head[16 : min(size, 16 + 4 * 64)]
    brands = [major, *(compatible[at : at + 4] for at in range(0, len(compatible), 4))]
    if major in _AVIF_BRANDS:
        return MediaType.AVIF
    if major in _HEIC_BRANDS:
        # `mif1` and `msf1` only say 'some picture': the codec's own brand stands among the compatible ones.
        return MediaType.AVIF if major[1:3] in (b"if", b"sf") and _AVIF_BRANDS.intersection(brands) else MediaType.HEIC
    if major == b"qt  ":
        return MediaType.QUICKTIME
    return MediaType.MP4


def _is_svg(head: bytes) -> bool:
    """Whether the root element of an XML text is `svg`."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head[2:].replace(b"\0", b"")
    text = head.removeprefix(b"\xef\xbb\xbf")
    at = 0
    while (before := _XML_PROLOG.match(text, at)) is not None:
        at = before.end()
    return _SVG_ROOT.match(text, at) is not None
