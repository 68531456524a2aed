"""Pages of a TIFF and pictures of a HEIC: all of them within the budget, whatever the file says of itself."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedi_safety.core.enums import Detail, MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media import Caps, SandboxDecoder
from support.corpus import paged
from support.corpus.media_zoo import saved
from support.corpus.moving import number, numbered, picture, shown
from support.corpus.paged import Paged
from support.share import examples

CAPS = Caps(frames=8, more_frames=32, tiles=0, more_tiles=0)  # pages alone, not their parts


@pytest.fixture(scope="module")
def decoder() -> Iterator[SandboxDecoder]:
    """Give a decoder in its sandbox, warm from test to test."""
    with SandboxDecoder(CAPS, jobs=1) as sandbox:
        yield sandbox


def numbers(count: int) -> list[Image.Image]:
    """Return so many numbered pictures."""
    return [numbered(i) for i in range(count)]


MAKERS = {MediaType.TIFF: paged.tiff, MediaType.HEIC: paged.heic, MediaType.PDF: paged.pdf}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_page(decoder: SandboxDecoder, kind: MediaType) -> None:
    """Within the budget nothing is left out, and each says where it was."""
    decoded = decoder.decode(MAKERS[kind](numbers(8)), kind)
    assert (decoded.total, decoded.more, decoded.partly) == (8, False, None)
    assert [number(picture(frame)) for frame in decoded.frames] == list(range(8))
    assert [frame.index for frame in decoded.frames] == list(range(8))
    assert decoded.frames[2].place.text == "picture 3"


@pytest.mark.parametrize("kind", MAKERS)
def test_many_pages(decoder: SandboxDecoder, kind: MediaType) -> None:
    """Over the budget they are drawn from the whole file, and are the same ones in every pass."""
    data = MAKERS[kind](numbers(30))
    first, second = decoder.decode(data, kind), decoder.decode(data, kind, Detail.FINE)
    assert (first.total, first.more, len(first.frames)) == (30, True, 8)
    assert (second.total, second.more, len(second.frames)) == (30, False, 30)
    for frame in (*first.frames, *second.frames):
        assert number(picture(frame)) == frame.index == frame.place.page - 1
    assert {0, 29} <= {frame.index for frame in first.frames}
    assert max(b.index - a.index for a, b in zip(first.frames, first.frames[1:], strict=False)) <= 10


@pytest.mark.parametrize("kind", MAKERS)
def test_a_single_page_has_no_number(decoder: SandboxDecoder, kind: MediaType) -> None:
    """A still stays one."""
    decoded = decoder.decode(MAKERS[kind](numbers(1)), kind)
    assert [(frame.index, frame.place.text) for frame in decoded.frames] == [(0, "")]
    assert (decoded.total, decoded.more) == (1, False)


def subject() -> Image.Image:
    """Return the stand-in for what is looked for: a red circle on grey."""
    from PIL import ImageDraw

    image = Image.new("RGB", (160, 96), (220, 220, 220))
    ImageDraw.Draw(image).ellipse((40, 8, 120, 88), (220, 30, 30))
    return image


def name(sample: Paged) -> str:
    """Return the test's name."""
    return sample.name


@pytest.mark.parametrize("sample", paged.zoo(subject()), ids=name)
def test_the_subject_on_any_page(decoder: SandboxDecoder, sample: Paged) -> None:
    """Whichever page it is on, one of the frames shows it, and no other is taken for it."""
    assert decoder.sniff(sample.data[:4096]) is sample.media_type
    decoded = decoder.decode(sample.data, sample.media_type)
    seen = [frame.index for frame in decoded.frames if _red(picture(frame))]
    assert (decoded.total, decoded.partly) == (sample.pages, None)
    if sample.name == "svg-embedded":  # the drawing shows the same
        assert len(seen) == 1
    elif sample.name == "svg-hidden":  # the drawing has a circle of its own
        assert len(seen) == len(decoded.frames)
    else:
        assert seen == [sample.page]


def _red(image: Image.Image) -> bool:
    pixel = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    return pixel[0] > 180 and max(pixel[1:]) < 70


def test_pages_of_any_size_and_mode(decoder: SandboxDecoder) -> None:
    """Each page is a picture of its own."""
    first = numbered(0).convert("L")
    second, third = numbered(1, (320, 192)), numbered(2).convert("CMYK")
    clear = Image.new("RGBA", (64, 64))
    clear.paste((255, 255, 255, 255), (16, 16, 48, 48))
    decoded = decoder.decode(paged.tiff([first, second, third, clear]), MediaType.TIFF)
    assert [number(picture(frame)) for frame in decoded.frames[:3]] == [0, 1, 2]
    assert (decoded.width, decoded.height, decoded.total) == (320, 192, 4)
    white, black = decoded.frames[3:]
    assert (white.index, black.index) == (3, 7)
    assert black.place.text == "picture 4 on black"
    assert picture(black).getpixel((32, 32)) == (255, 255, 255)
    assert picture(black).getpixel((2, 2)) == (0, 0, 0)


def test_what_viewers_show_comes_first(decoder: SandboxDecoder) -> None:
    """Picture 1 of a HEIC is its main one, wherever it stands in the file."""
    decoded = decoder.decode(paged.heic(numbers(4), primary=2), MediaType.HEIC)
    assert [number(picture(frame)) for frame in decoded.frames] == [2, 0, 1, 3]


def test_pages_below_a_page(decoder: SandboxDecoder) -> None:
    """Directories that hang below another one are pages too."""
    data = paged.tiff(numbers(3), tiffinfo={305: "hanging"})
    hanging = paged.below(data, paged.directories(data)[0])
    assert len(paged.directories(hanging)) == 2
    decoded = decoder.decode(hanging, MediaType.TIFF)
    assert [number(picture(frame)) for frame in decoded.frames] == [0, 1, 2]


# --- AVIF


@pytest.mark.parametrize("primary", [1, 2])
def test_pictures_beside_the_main_one(decoder: SandboxDecoder, primary: int) -> None:
    """Both pictures of an AVIF are judged, first the one that viewers show."""
    decoded = decoder.decode(paged.avif(numbered(5), numbered(9), primary=primary), MediaType.AVIF)
    assert [number(picture(frame)) for frame in decoded.frames] == ([5, 9] if primary == 1 else [9, 5])
    assert [frame.place.text for frame in decoded.frames] == ["picture 1", "picture 2"]
    assert (decoded.total, decoded.partly) == (2, None)


def test_transparency_is_no_picture(decoder: SandboxDecoder) -> None:
    """What belongs to another picture is not a page: an ordinary AVIF stays a still."""
    image = numbered(5).convert("RGB")
    image.putalpha(200)
    decoded = decoder.decode(saved(image, "AVIF"), MediaType.AVIF)
    assert {frame.place.page for frame in decoded.frames} == {0}
    assert decoded.total == 1


# --- PDF


def test_a_document_without_the_extra(decoder: SandboxDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is unsupported, and the detail says what is missing."""
    data = paged.pdf(numbers(2))
    assert decoder.sniff(data[:4096]) is MediaType.PDF
    assert "pypdfium2 5" in decoder.version
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(Unscannable, match="extra `pdf`") as caught:
        shown(data, MediaType.PDF)
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("size", ["0.001 0.001", "100000000 100000000", "1000000 1", "-9 -9"])
def test_a_document_of_any_size(decoder: SandboxDecoder, size: str) -> None:
    """However large a page says to be, its frame is bounded."""
    data = paged.pdf(numbers(2))
    start = data.index(b"/MediaBox")
    end = data.index(b"]", start) + 1
    changed = data[:start] + f"/MediaBox [ 0 0 {size} ]".encode() + data[end:]
    decoded = decoder.decode(changed, MediaType.PDF)
    assert 1 in [number(picture(frame)) for frame in decoded.frames if frame.width == 768]
    assert decoded.total == 2


def test_a_document_within_a_low_cap() -> None:
    """A cap on pixels makes pages small, for they have no size in pixels of their own."""
    with SandboxDecoder(Caps(max_pixels=20_000), jobs=1) as low:
        decoded = low.decode(paged.pdf(numbers(2)), MediaType.PDF)
    assert [number(picture(frame)) for frame in decoded.frames] == [0, 1]
    assert decoded.width * decoded.height <= 20_000


@pytest.mark.parametrize("data", [b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", b"%PDF-1.4\ntrailer << /Root 1 0 R >>", b"%PDF-"])
def test_a_broken_document(decoder: SandboxDecoder, data: bytes) -> None:
    """What has no pages has a reason."""
    with pytest.raises(Unscannable) as caught:
        decoder.decode(data, MediaType.PDF)
    assert caught.value.reason in (Reason.CORRUPT, Reason.TRUNCATED, Reason.EMPTY)


# --- damage and lies


def test_a_damaged_page(decoder: SandboxDecoder) -> None:
    """The others are judged, and the object says which one was not."""
    data = paged.tiff(numbers(5), compression="tiff_lzw")
    third = paged.directories(data)[2]
    damaged = bytearray(data)
    (count,) = struct.unpack_from("<H", data, third)
    for entry in range(third + 2, third + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == 273:  # the strips
            struct.pack_into("<I", damaged, entry + 8, 0)
    decoded = decoder.decode(bytes(damaged), MediaType.TIFF)
    assert [number(picture(frame)) for frame in decoded.frames] == [0, 1, 3, 4]
    assert decoded.partly is not None
    assert decoded.partly.startswith("corrupt: picture 3: ")


def test_a_cut_file(decoder: SandboxDecoder) -> None:
    """Pages before the cut are judged."""
    data = paged.tiff(numbers(5))
    decoded = decoder.decode(data[: paged.directories(data)[3] + 4], MediaType.TIFF)
    assert [number(picture(frame)) for frame in decoded.frames] == [0, 1, 2]
    assert decoded.partly is not None
    assert decoded.partly.startswith("truncated: ")


def test_no_page_decodes(decoder: SandboxDecoder) -> None:
    """Then there is a reason and no frame."""
    big = [Image.new("1", (12_000, 12_000)), Image.new("1", (12_001, 12_000))]
    with pytest.raises(Unscannable, match="megapixels") as caught:
        decoder.decode(paged.tiff(big, compression="group4"), MediaType.TIFF)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.long
def test_a_page_over_the_cap(decoder: SandboxDecoder) -> None:
    """One bomb does not hide the other pages, in either format."""
    bomb = Image.new("1", (40_000, 40_000))
    data = paged.tiff([numbered(0), bomb, numbered(2)], compression="tiff_deflate")
    start = time.monotonic()
    decoded = decoder.decode(data, MediaType.TIFF)
    assert time.monotonic() - start < 15
    assert [number(picture(frame)) for frame in decoded.frames] == [0, 2]
    assert decoded.partly is not None
    assert decoded.partly.startswith("too_large: picture 2: 1600.0 megapixels")
    found, went = shown(paged.heic([numbered(0), numbered(1, (320, 192))]), MediaType.HEIC, max_pixels=160 * 96)
    assert [number(picture(frame)) for frame in found] == [0]
    assert went.problem is not None
    assert went.problem.reason is Reason.TOO_LARGE


def test_directories_in_a_circle(decoder: SandboxDecoder) -> None:
    """Each is a page once."""
    data = paged.tiff(numbers(4))
    places = paged.directories(data)
    for to in (places[0], places[2], places[3]):
        decoded = decoder.decode(paged.chained(data, places[3], to), MediaType.TIFF)
        assert [number(picture(frame)) for frame in decoded.frames] == [0, 1, 2, 3]
        assert (decoded.total, decoded.partly) == (4, None)


def test_pages_without_end(decoder: SandboxDecoder) -> None:
    """A million directories of nothing cost little, and the page among them is judged."""
    page = paged.tiff(numbers(2))
    first = paged.directories(page)[0]
    start = len(page)
    places = range(start, start + 6 * 1_000_000, 6)
    empty = b"".join(struct.pack("<HI", 0, at + 6) for at in places)
    began = time.monotonic()
    decoded = decoder.decode(paged.chained(page, first, start) + empty, MediaType.TIFF)
    assert time.monotonic() - began < 15
    assert [number(picture(frame)) for frame in decoded.frames] == [0]
    assert decoded.total == 20_000
    assert decoded.partly is not None


def test_directories_that_share_their_entries(decoder: SandboxDecoder) -> None:
    """Many directories with many entries, each naming many below: what is walked stays bounded."""
    page = paged.tiff(numbers(2))
    first = paged.directories(page)[0]
    start, names = len(page), 60_000
    entry = struct.pack("<HHII", 330, 4, 20_000, 0)
    places = list(range(start, start + 12 * names, 12))
    # The count of each directory is the tag of the entry there, so that its next one lies 330 entries further on.
    entries = b"".join(entry for _ in places)
    began = time.monotonic()
    decoded = decoder.decode(paged.chained(page, first, start) + entries, MediaType.TIFF)
    assert time.monotonic() - began < 15
    assert number(picture(decoded.frames[0])) == 0


def test_damage_never_surprises(decoder: SandboxDecoder) -> None:
    """Flipped bytes anywhere give frames or a reason, and no child is lost."""
    random = Random(6)
    samples = [(kind, make(numbers(3))) for kind, make in MAKERS.items()]
    samples.append((MediaType.AVIF, paged.avif(numbered(5), numbered(9))))
    samples.append((MediaType.TIFF, paged.tiff(numbers(3), big_tiff=True)))
    for _ in range(examples(150)):
        kind, data = random.choice(samples)
        changed = bytearray(data)
        for _ in range(random.randrange(1, 6)):
            changed[random.randrange(len(changed))] = random.randrange(256)
        try:
            assert decoder.decode(bytes(changed), kind).total >= 1
        except Unscannable as refusal:
            allowed = (Reason.CORRUPT, Reason.TRUNCATED, Reason.UNSUPPORTED, Reason.TOO_LARGE, Reason.EMPTY)
            assert refusal.reason in allowed


@given(st.binary(max_size=300), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]))
def test_any_directories(rest: bytes, head: bytes) -> None:
    """No bytes bring the walk down or keep it busy."""
    with pytest.raises(Unscannable):
        shown(head + rest, MediaType.TIFF)


@pytest.mark.long
def test_a_whole_tiff_is_no_worse_than_before(decoder: SandboxDecoder) -> None:
    """A cut still is judged by what is left of it."""
    data = saved(numbered(0), "TIFF")
    decoded = decoder.decode(data[: len(data) // 2], MediaType.TIFF)
    assert decoded.partly is not None
    assert decoded.partly.startswith("truncated: ")
