"""Tells media types by their first bytes. Names and claimed types play no part; nothing is decoded here.

Only the standard library, no state: it runs in the parent process on untrusted bytes.
"""

from __future__ import annotations

import re

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable

HEAD_BYTES = 4096  # that are asked for

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
    (b"II\xbc\1", "a JPEG XR picture"),
    (b"8BPS\0", "a Photoshop document"),
    (b"qoif", "a QOI picture"),
    (b"gimp xcf ", "a GIMP document"),
    (b"\0\0\1\0", "an icon without a picture"),
    (b"\0\0\2\0", "a cursor"),
    (b"\x8aMNG\r\n\x1a\n", "an MNG animation"),
    (b"\x8bJNG\r\n\x1a\n", "a JNG picture"),
    (b"BPG\xfb", "a BPG picture"),
    (b"FLIF", "a FLIF picture"),
    (b"AT&TFORM", "a DjVu document"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance picture"),
    (b"DDS |\0\0\0", "a DirectDraw surface"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"FUJIFILMCCD-RAW", "a raw photograph"),
    (b"IIRO", "a raw photograph"),
    (b"IIU\0", "a raw photograph"),
    (b"FLV\1", "a Flash clip"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media clip"),
    (b"\0\0\1\xba", "an MPEG clip"),
    (b"\0\0\1\xb3", "an MPEG clip"),
    (b".RMF\0", "a RealMedia clip"),
    (b"DKIF\0\0", "an IVF clip"),
    (b"YUV4MPEG2 ", "raw pictures"),
)
# A transport stream is made of packets that begin with the same byte; the fourth says in two bits what is in them:
# (bytes before each, bytes of each).
_PACKETS = ((0, 188), (4, 192), (0, 204), (0, 208))
_PACKET = re.compile(rb"\x47..[\x10-\x3f\x50-\x7f\x90-\xbf\xd0-\xff]", re.DOTALL)
_CHECKED_PACKETS = 5

_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
)
_LATER_BRANDS = frozenset({b"mif3"})  # a shorter form of HEIC and AVIF
_QUICKTIME_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_BOXES = _QUICKTIME_ATOMS | {b"ftyp", b"styp", b"moof", b"sidx"}
_EBML = b"\x1a\x45\xdf\xa3"
_DOCTYPE = re.compile(rb"\x42\x82[\x80-\xff]?\x00*(webm|matroska)")
# What may stand before the root element of an SVG: blanks, an XML declaration or instruction, comments, a doctype.
_XML_PROLOG = re.compile(rb"(?:\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>)", re.DOTALL | re.IGNORECASE)
# A prolog that goes on behind the bytes that are there: what follows it, nobody knows yet.
_XML_BEGUN = re.compile(
    rb"(?:<\?(?:(?!\?>).)*|<!--(?:(?!-->).)*|<!DOCTYPE[^\[>]*(?:\[(?:(?!\]\s*>).)*)?|<!?-?|<!D[A-Z]{0,6}"
    rb"|<[A-Za-z_][\w.-]{0,32}(?::s?v?g?)?)?\Z",
    re.DOTALL | re.IGNORECASE,
)
_SVG_ROOT = re.compile(rb"<(?:[A-Za-z_][\w.-]{0,32}:)?svg[\s>/]")


def sniff(head: bytes) -> MediaType:
    """Return the type of the medium whose first bytes are `head`: 4096 of them, or all that there are.

    They tell everything there is to tell, but for an XML text whose prolog goes on behind them: that passes for an SVG,
    and its decoder finds out (`is_drawing`).

    Raises `Unscannable`: `empty` for no bytes, `unsupported` for media of kinds that are not decoded here, `not_media`
    for all else.
    """
    if not head:
        raise Unscannable(Reason.EMPTY, "no bytes at all")
    if _is_icon(head):
        return MediaType.ICO
    for prefix, what in _FOREIGN:
        if head.startswith(prefix):
            raise Unscannable(Reason.UNSUPPORTED, f"{what} is not decoded")
    media_type = _identify(head)
    what = _foreign(head) if media_type is None else ""
    if what:
        raise Unscannable(Reason.UNSUPPORTED, f"{what} is not decoded")
    if media_type is None:
        raise Unscannable(Reason.NOT_MEDIA, "no known signature of a picture or clip")
    return media_type


def _identify(head: bytes) -> MediaType | None:
    for prefix, media_type in _PREFIXES:
        if head.startswith(prefix):
            return media_type
    if head[4:8] == b"ftyp":
        return _by_brands(head) if head[8:12] not in _LATER_BRANDS else None
    if head[:4] == b"RIFF":
        return {b"WEBP": MediaType.WEBP, b"AVI ": MediaType.AVI}.get(head[8:12])
    if head[:4] == _EBML:
        doctype = _DOCTYPE.search(head[:256])
        return MediaType.WEBM if doctype is not None and doctype[1] == b"webm" else MediaType.MATROSKA
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return MediaType.BMP
    if _has_boxes(head):  # QuickTime files from before there was an `ftyp`, and such whose `ftyp` is damaged
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


def _has_boxes(head: bytes) -> bool:
    """Whether it begins with a box of a clip, or with some other box and then one of these, as players look for it."""
    size = int.from_bytes(head[:4], "big")
    return head[4:8] in _QUICKTIME_ATOMS or (size >= 8 and head[size + 4 : size + 8] in _BOXES)


def is_drawing(data: bytes) -> bool:
    """Whether the root element of a whole XML text is `svg`."""
    return _root(data)[0]


def _is_svg(head: bytes) -> bool:
    """Whether the root element is `svg`, or may be, behind a prolog that goes on behind these bytes."""
    found, rest = _root(head)
    return found or (len(head) >= HEAD_BYTES and _XML_BEGUN.match(rest) is not None)


def _root(data: bytes) -> tuple[bool, bytes]:
    """Return whether an `svg` element follows the prolog of an XML text, and what does follow it."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data[2:].replace(b"\0", b"")
    text = data.removeprefix(b"\xef\xbb\xbf")
    at = 0
    while (before := _XML_PROLOG.match(text, at)) is not None:
        at = before.end()
    return _SVG_ROOT.match(text, at) is not None, text[at:]


def _is_icon(head: bytes) -> bool:
    """Whether its directory has a picture: the same four bytes begin other files."""
    count, where = int.from_bytes(head[4:6], "little"), int.from_bytes(head[18:22], "little")
    return head[:4] == b"\0\0\1\0" and len(head) >= 22 and count > 0 and where >= 6 + 16 * count


def _foreign(head: bytes) -> str:
    """Name a medium whose kind takes more than its first bytes to tell; empty if it is none."""
    if head[4:8] == b"ftyp":
        return "a picture in the short form of HEIC or AVIF"
    for before, size in _PACKETS:
        starts = range(before, min(len(head) - 3, _CHECKED_PACKETS * size), size)
        if len(starts) > 2 and all(_PACKET.match(head, start) for start in starts):
            return "an MPEG transport stream"
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "sound that may have a cover"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "sound that may have a cover"
    if (head[:3] == b"ID3" and _may_have_cover(head)) or (head[:4] == b"fLaC" and _flac_may_have_cover(head)):
        return "sound with a cover"
    return ""


def _may_have_cover(head: bytes) -> bool:
    """Whether a picture stands in an ID3 tag, or may stand in what of the tag is not there."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return len(head) < 10 or 10 + size > len(head) or any(mark in head[10 : 10 + size] for mark in (b"APIC", b"PIC"))


def _flac_may_have_cover(head: bytes) -> bool:
    """Whether a picture is among the blocks before the sound, or may be among those that are not there."""
    at = 4
    while at + 4 <= len(head):
        if head[at] & 0x7F == 6:
            return True
        if head[at] & 0x80:
            return False
        at += 4 + int.from_bytes(head[at + 1 : at + 4], "big")
    return True
