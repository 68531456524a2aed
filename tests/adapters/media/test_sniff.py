"""Types by content alone: every signature, every refusal, and whatever an uploader may come up with."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.sniff import sniff
from support.corpus import media_zoo


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    """Return the first box of an ISO base media file."""
    return (
        struct.pack(">I", 16 + 4 * len(compatible))
        + b"ftyp"
        + major
        + bytes(4)
        + b"".join(compatible)
        + b"\0\0\0\x08moov"
    )


def ebml(doctype: bytes) -> bytes:
    """Return the head of a Matroska or WebM file."""
    return b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82" + bytes([0x80 | len(doctype)]) + doctype


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (ftyp(b"avif", b"mif1", b"miaf"), MediaType.AVIF),
        (ftyp(b"avis", b"avif", b"msf1"), MediaType.AVIF),
        (ftyp(b"mif1", b"avif", b"miaf"), MediaType.AVIF),
        (ftyp(b"mif1", b"heic"), MediaType.HEIC),
        (ftyp(b"msf1", b"hevc"), MediaType.HEIC),
        *((ftyp(brand, b"mif1"), MediaType.HEIC) for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis")),
        (b"\xff\x0a\x00\x10", MediaType.JXL),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ", MediaType.JXL),
        (b"II+\0\x08\0\0\0\x10\0\0\0", MediaType.TIFF),
        (b"MM\0+\0\x08\0\0\0\0\0\0", MediaType.TIFF),
        (b"MM\0*\0\0\0\x08", MediaType.TIFF),
        (b"GIF87a", MediaType.GIF),
        (ftyp(b"isom", b"mp42"), MediaType.MP4),
        (ftyp(b"M4V "), MediaType.MP4),
        (ftyp(b"qt  "), MediaType.QUICKTIME),
        (b"\0\0\x10\0moov\0\0\0\0", MediaType.QUICKTIME),
        (b"\0\0\0\x08wide\0\0\0\0mdat", MediaType.QUICKTIME),
        (ebml(b"webm"), MediaType.WEBM),
        (ebml(b"matroska"), MediaType.MATROSKA),
        (b"OggS\0\2", MediaType.OGG),
        (b"RIFF\0\0\0\0AVI LIST", MediaType.AVI),
        (b"%PDF-1.7\n", MediaType.PDF),
        ("<?xml version='1.0' encoding='utf-16'?><svg>".encode("utf-16"), MediaType.SVG),
        (b"<!DOCTYPE svg [ <!ENTITY a 'b'> ]><svg:svg>", MediaType.SVG),
        (b"\xef\xbb\xbf <?xml version='1.0'?><!-- <html> --><!DOCTYPE svg PUBLIC 'a' 'b'>\n<svg>", MediaType.SVG),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", MediaType.SVG),
    ],
)
def test_signatures(head: bytes, kind: MediaType) -> None:
    """Signatures that the zoo's encoders do not write."""
    assert sniff(head) is kind


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"FLV\1\5", "Flash"),
        (b"8BPS\0\1", "Photoshop"),
        (ftyp(b"mif3", b"avif"), "short form"),
        (b"II\xbc\1\x08\0\0\0", "JPEG XR"),
        (b"\0\0\2\0\1\0" + bytes(16), "cursor"),
        (b"\0\0\1\0\0\0", "icon"),
        ((b"\x47\0\0\x10" + bytes(184)) * 20, "transport stream"),
        ((bytes(4) + b"\x47\0\0\x10" + bytes(184)) * 20, "transport stream"),
        ((b"\x47\0\0\x10" + bytes(200)) * 20, "transport stream"),
        (b"ID3\3\0\0\0\0\1\0APIC" + bytes(200), "sound"),
        (b"ID3\3\0\0\0\1\0\0TIT2" + bytes(200), "sound"),
        (b"fLaC\0\0\0\x22" + bytes(34) + b"\x86\0\0\4" + bytes(4), "sound"),
        (b"RIFF\0\0\1\0WAVEfmt ", "sound"),
        (b".RMF\0\0\0\x12", "RealMedia"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    ],
)
def test_media_that_is_not_decoded(head: bytes, what: str) -> None:
    """Foreign formats are media, and the detail names them."""
    with pytest.raises(Unscannable, match=what) as caught:
        sniff(head)
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    "head", [b"<html><svg></svg></html>", b"<!-- <svg> -->", b"<svgx>", b"text about <svg>", b"BM" + bytes(60)]
)
def test_lookalikes_are_no_media(head: bytes) -> None:
    """What only mentions a signature does not have it."""
    with pytest.raises(Unscannable) as caught:
        sniff(head)
    assert caught.value.reason is Reason.NOT_MEDIA


@pytest.mark.parametrize("head", [*media_zoo.whole().values(), ftyp(b"mif1", b"avif"), ebml(b"webm")])
def test_short_heads(head: bytes) -> None:
    """Every beginning of a medium is either told rightly or refused."""
    for size in range(64):
        assert_told_or_refused(head[:size])


_STARTS = st.sampled_from(
    [
        b"",
        b"RIFF",
        b"\0\0\0\x20ftyp",
        b"\x1a\x45\xdf\xa3",
        b"BM",
        b"<?xml",
        b"<!--",
        b"<!DOCTYPE",
        b"\xff\xfe<",
        b"II*\0",
    ]
)


@given(_STARTS, st.binary(max_size=200))
def test_never_anything_but_a_type_or_a_refusal(start: bytes, rest: bytes) -> None:
    """No bytes bring it down."""
    assert_told_or_refused(start + rest)


@pytest.mark.parametrize("part", [b" ", b"<!--", b"<?", b"<!---->", b"<!DOCTYPE [", b"<!DOCTYPE a[]"])
def test_no_bytes_take_long(part: bytes) -> None:
    """A head made to keep a pattern busy is done at once; the timeout of the suite would fail this test."""
    assert_told_or_refused(part * (4096 // len(part)))


def assert_told_or_refused(head: bytes) -> None:
    """Run `sniff`, allowing only what it promises."""
    try:
        assert isinstance(sniff(head), MediaType)
    except Unscannable as refusal:
        assert refusal.reason in (Reason.NOT_MEDIA, Reason.UNSUPPORTED, Reason.EMPTY)


@pytest.mark.parametrize(
    "head",
    [
        b"ID3\3\0\0\0\0\0\x40TIT2" + bytes(200),
        b"fLaC\0\0\0\x22" + bytes(34) + b"\x84\0\0\4" + bytes(4),
        b"\x47" + bytes(187),
        b"\x0f" + b"G" * 4096,
        (b"\x47" + bytes(187)) * 20,
    ],
)
def test_sound_without_a_picture_is_no_media(head: bytes) -> None:
    """Nor is what begins like a stream by chance."""
    with pytest.raises(Unscannable) as caught:
        sniff(head)
    assert caught.value.reason is Reason.NOT_MEDIA


@pytest.mark.parametrize(
    "text",
    [
        "<!--" + "a" * 5000 + "--><svg/>",
        "<?xml version='1.0'?>" + " " * 5000,
        "<!DOCTYPE svg [" + "<!ENTITY a 'b'>" * 400,
    ],
)
def test_a_prolog_that_goes_on_may_be_a_drawings(text: str) -> None:
    """What follows it is not among the first bytes; a text that ends in its prolog is none."""
    assert sniff(text.encode()[:4096]) is MediaType.SVG
    assert sniff(text.encode("utf-16")[:4096]) is MediaType.SVG
    with pytest.raises(Unscannable):
        sniff(text.encode()[:200])
