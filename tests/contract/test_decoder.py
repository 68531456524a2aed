"""What every `Decoder` owes (core/ports.py), on every still format and every kind of damage of the zoo."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import FediSafetyError, Unscannable
from fedi_safety.core.ports import Decoder
from fedi_safety.core.types import Decoded, Frame
from fedi_safety.media import Caps, SandboxDecoder
from support.corpus import media_zoo
from support.corpus.media_zoo import Sample


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """Give the decoder under test, warm from test to test."""
    with SandboxDecoder(jobs=2) as sandbox:
        yield sandbox


def name(sample: Sample) -> str:
    """Return the test's name."""
    return sample.name


def colours(frame: Frame) -> list[tuple[int, int, int]]:
    """Return the colours in the middle of the four quadrants."""
    found = []
    for index in range(4):
        x, y = frame.width * (1 + 2 * (index % 2)) // 4, frame.height * (1 + 2 * (index // 2)) // 4
        at = (y * frame.width + x) * 3
        found.append((frame.rgb[at], frame.rgb[at + 1], frame.rgb[at + 2]))
    return found


def assert_shows(decoded: Decoded, sample: Sample) -> None:
    """Compare every quadrant's colour, the sizes, and the shape of the frame."""
    assert isinstance(sample.expected, tuple)
    assert decoded.media_type is sample.media_type
    assert (decoded.width, decoded.height) == sample.size
    assert decoded.partly is None
    frame, *others = decoded.frames
    assert all(other.place.on_black or other.index > 0 for other in others)
    assert (frame.index, frame.width, frame.height) == (0, *sample.size)
    for found, expected in zip(colours(frame), sample.expected, strict=True):
        difference = max(abs(a - b) for a, b in zip(found, expected, strict=True))
        assert difference <= sample.tolerance, f"{found} for {expected}"


@pytest.mark.sampled(56)
@pytest.mark.parametrize("sample", media_zoo.good(), ids=name)
def test_colours_and_orientation(decoder: Decoder, sample: Sample) -> None:
    """Each format is told by its content and comes out upright and in its true colours."""
    assert decoder.sniff(sample.data[:4096]) is sample.media_type
    assert_shows(decoder.decode(sample.data, sample.media_type), sample)


@pytest.mark.parametrize("sample", media_zoo.bad(), ids=name)
def test_damage_is_named(decoder: Decoder, sample: Sample) -> None:
    """A medium that cannot be decoded says why, in one line."""
    with pytest.raises(Unscannable) as caught:
        decoder.decode(sample.data, sample.media_type)
    assert caught.value.reason is sample.expected
    assert caught.value.detail
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize("sample", media_zoo.cut(), ids=name)
def test_a_cut_still_is_judged_in_part(decoder: Decoder, sample: Sample) -> None:
    """What a viewer shows of it is judged, and it is said that the rest is missing."""
    clip = decoder.decode(sample.data, sample.media_type)
    assert clip.frames
    assert clip.partly is not None
    assert clip.partly.startswith("truncated")
    assert "\n" not in clip.partly


@pytest.mark.parametrize("data", media_zoo.not_media().values(), ids=media_zoo.not_media())
def test_what_is_no_media(decoder: Decoder, data: bytes) -> None:
    """Other files are `not_media`, whatever they are called."""
    with pytest.raises(Unscannable) as caught:
        decoder.sniff(data[:4096])
    assert caught.value.reason is (Reason.NOT_MEDIA if data else Reason.EMPTY)


def test_other_media_are_unsupported() -> None:
    """A type that is not decoded is refused without a look."""
    with SandboxDecoder(Caps(svg="unsupported")) as plain, pytest.raises(Unscannable, match=r"limits\.svg") as caught:
        plain.decode(b"<svg/>", MediaType.SVG)
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.sampled(20)
@pytest.mark.parametrize("told", media_zoo.whole())
@pytest.mark.parametrize("truly", media_zoo.whole())
def test_a_wrong_type_is_harmless(decoder: Decoder, told: MediaType, truly: MediaType) -> None:
    """Bytes decoded as another type give nothing or the picture, never another error."""
    try:
        decoder.decode(media_zoo.whole()[truly], told)
    except Unscannable as refusal:
        assert refusal.reason in (Reason.CORRUPT, Reason.TRUNCATED, Reason.UNSUPPORTED)


def test_no_bytes_at_all(decoder: Decoder) -> None:
    """Empty input is refused like any other."""
    for kind in media_zoo.whole():
        with pytest.raises(Unscannable) as caught:
            decoder.decode(b"", kind)
        assert caught.value.reason in (Reason.CORRUPT, Reason.TRUNCATED)


def test_many_threads_at_once(decoder: Decoder) -> None:
    """Each caller gets its own medium back, also when there are more of them than children."""
    samples = media_zoo.good() * 2
    with ThreadPoolExecutor(6) as pool:
        for sample, decoded in zip(
            samples, pool.map(lambda s: decoder.decode(s.data, s.media_type), samples), strict=True
        ):
            assert_shows(decoded, sample)


def test_version_names_the_libraries(decoder: Decoder) -> None:
    """A verdict can be traced to what decoded the picture."""
    for library in ("Pillow 1", "pillow-heif 1", "pillow-jxl-plugin 1", "resvg_py 0"):
        assert library in decoder.version


def test_close_is_final_and_may_be_repeated() -> None:
    """After `close` there is no decoding, and no second harm."""
    decoder: Decoder = SandboxDecoder(jobs=1)
    sample = media_zoo.good()[0]
    decoder.decode(sample.data, sample.media_type)
    decoder.close()
    decoder.close()
    with pytest.raises(FediSafetyError, match="closed"):
        decoder.decode(sample.data, sample.media_type)
