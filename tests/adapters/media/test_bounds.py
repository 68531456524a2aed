"""The bounds that keep single formats from costing too much, and that harmless files do not meet them."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.caps import affordable
from fedi_safety.media.decoder.formats.png import lean
from fedi_safety.media.decoder.structure.probe import count_items, count_scans
from support.corpus import media_zoo
from support.corpus.media_zoo import chunk, exif, saved
from support.corpus.moving import shown
from support.hostile.bomb_files import gif, zeros


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """Put chunks right behind a PNG's header."""
    return data[:33] + b"".join(chunks) + data[33:]


def test_a_png_without_ballast_is_left_as_it_is() -> None:
    """Nothing is copied."""
    data = saved(media_zoo.picture(), "PNG")
    assert lean(data) is data


def test_a_png_keeps_what_its_looks_depend_on() -> None:
    """Transparency, profile and orientation stay; texts and private chunks go."""
    profile = b"name\0\0" + zlib.compress(media_zoo.swapped_profile())
    kept = (chunk(b"iCCP", profile), chunk(b"eXIf", exif(6)), chunk(b"tRNS", b"\0\1\0\2\0\3"))
    gone = (chunk(b"tEXt", b"k\0v"), chunk(b"prVt", b"?"), chunk(b"zTXt", b"k\0\0" + zeros(1 << 22)))
    data = saved(media_zoo.picture(), "PNG")
    mixed = [each for pair in zip(gone, kept, strict=True) for each in pair]
    assert lean(with_chunks(data, *mixed)) == with_chunks(data, *kept)


def test_a_png_loses_a_profile_that_inflates_too_far() -> None:
    """Viewers ignore it as well."""
    data = saved(media_zoo.picture(), "PNG")
    assert lean(with_chunks(data, chunk(b"iCCP", b"name\0\0" + zeros(1 << 22)))) == data


@pytest.mark.parametrize("length", range(8, 120, 7))
def test_a_cut_png_stays_cut(length: int) -> None:
    """What is no whole chunk is the reader's to judge."""
    data = with_chunks(saved(media_zoo.picture(), "PNG"), chunk(b"tEXt", b"k\0v"))
    left = lean(data[:length])
    assert left == data[:length] or left == (data[:33] + data[48:length])


def test_scans_are_counted() -> None:
    """Those of the picture: neither its thumbnail's nor what only looks like one."""
    noise = Image.effect_noise((200, 100), 90).convert("RGB")
    plain, progressive = saved(noise, "JPEG"), saved(noise, "JPEG", progressive=True)
    assert count_scans(plain) == 1
    assert count_scans(progressive) == 10
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 6) + b"\xff\xda\xff\xd9\xff\xda"
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + len(plain)) + plain
    assert count_scans(progressive[:2] + comment + thumbnail + progressive[2:]) == 10
    at = progressive.rindex(b"\xff\xda")
    assert count_scans(progressive[:at] + comment + progressive[at:]) == 10
    assert count_scans(b"\xff\xd8") == 0


def test_items_are_counted() -> None:
    """A picture alone has few."""
    for kind in (MediaType.AVIF, MediaType.HEIC):
        assert 1 <= count_items(media_zoo.whole()[kind]) <= 10


@pytest.mark.parametrize(
    ("frames", "pixels", "paid"),
    [(16, 1, 16), (16, 12_000_000, 16), (16, 24_000_000, 8), (16, 10**9, 2), (1, 10**9, 1), (64, 48_000_000, 16)],
)
def test_what_frames_are_paid_for(frames: int, pixels: int, paid: int) -> None:
    """As many as ordinary ones would cost; at least two, unless no more are wanted."""
    assert affordable(frames, pixels) == paid


@pytest.mark.long
def test_of_large_animations_fewer_frames_are_looked_at() -> None:
    """The first is among them, and it is said that this is not all."""
    found, went = shown(gif(6000, 4000, 20), MediaType.GIF, frames=16)
    assert found[0].index == 0
    assert (went.total, went.more) == (20, True)
    assert went.problem is not None
    assert (went.problem.reason, went.problem.detail[:12]) == (Reason.TOO_LARGE, "at most 8 of")


def test_of_huge_animations_the_first_frame_is_looked_at() -> None:
    """A canvas of theirs would take a second for every frame."""
    found, went = shown(gif(9000, 9000, 20), MediaType.GIF)
    assert [frame.index for frame in found] == [0]
    assert went.problem is not None
    assert went.problem.reason is Reason.TOO_LARGE
    assert went.problem.detail.startswith("only the first of 20 frames")


@pytest.mark.long
def test_animations_of_usual_size_have_no_such_bound() -> None:
    """Nor have those of few frames that are large."""
    for data in (gif(1920, 1080, 16), gif(4000, 4000, 2)):
        assert shown(data, MediaType.GIF, frames=16)[1].problem is None


def test_a_picture_of_too_many_items_is_too_large() -> None:
    """Its table alone would take seconds to read."""
    data = media_zoo.whole()[MediaType.AVIF]
    at = data.index(b"meta")
    size = int.from_bytes(data[at - 4 : at], "big") + 4 * 2001
    stuffed = data[: at - 4] + struct.pack(">I", size) + data[at : at + 8] + b"infe" * 2001 + data[at + 8 :]
    with pytest.raises(Unscannable) as caught:
        shown(stuffed, MediaType.AVIF)
    assert caught.value.reason is Reason.TOO_LARGE
    assert "items" in caught.value.detail


def test_the_picture_of_a_png_with_endless_texts_is_seen() -> None:
    """It is what every viewer shows."""
    data = with_chunks(saved(media_zoo.picture(), "PNG"), chunk(b"zTXt", b"k\0\0" + zeros(1 << 23)))
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(data)).load()
    assert shown(data, MediaType.PNG)[1].problem is None
