"""Frames: their size, what is cheap and what must not be fooled. Runs the decoder in this process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.caps import MAX_FRAME_PIXELS
from fedi_safety.media.decoder.formats import images
from fedi_safety.media.decoder.formats.images import decode_still
from fedi_safety.media.decoder.frames import colour, still
from fedi_safety.media.decoder.structure.probe import is_cut
from support.corpus import media_zoo

NO_CAP = 10**9


def frame_size(size: tuple[int, int], kind: MediaType) -> tuple[int, int]:
    """Decode a plain picture of this size; return the frame's size."""
    data = media_zoo.saved(Image.new("RGB", size, (90, 120, 150)), kind.name)
    still = decode_still(data, kind, NO_CAP)
    assert (still.width, still.height) == size
    assert len(still.rgb) == still.frame_width * still.frame_height * 3
    return still.frame_width, still.frame_height


@pytest.mark.parametrize(
    ("size", "kind", "frame"),
    [
        ((1200, 900), MediaType.JPEG, (600, 450)),  # scaled while decoding
        ((1200, 900), MediaType.PNG, (768, 576)),
        ((4000, 3000), MediaType.JPEG, (768, 576)),
        ((1080, 2340), MediaType.PNG, (354, 768)),
        ((900, 900), MediaType.JPEG, (768, 768)),
        ((600, 500), MediaType.JPEG, (600, 500)),
        ((20, 10), MediaType.PNG, (20, 10)),  # never enlarged
        ((1, 1), MediaType.PNG, (1, 1)),
        ((2000, 400), MediaType.PNG, (1280, 256)),  # the short side stays usable
        ((3000, 200), MediaType.JPEG, (3000, 200)),
        ((1, 5000), MediaType.PNG, (1, 5000)),
    ],
)
def test_frame_sizes(size: tuple[int, int], kind: MediaType, frame: tuple[int, int]) -> None:
    """Detectors get what they need and no more."""
    assert frame_size(size, kind) == frame


@given(st.integers(1, 70_000), st.integers(1, 70_000))
def test_a_frame_is_bounded_and_never_enlarged(width: int, height: int) -> None:
    """Whatever the shape: within the cap, within the picture, and as usable as the picture allows."""
    fitted_width, fitted_height = still.fit(width, height)
    assert 1 <= fitted_width <= width
    assert 1 <= fitted_height <= height
    assert fitted_width * fitted_height <= MAX_FRAME_PIXELS
    if max(width, height) <= 3 * min(width, height):
        assert max(fitted_width, fitted_height) <= 768
        assert min(fitted_width, fitted_height) >= min(256, width, height)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_draft_leaves_enough(width: int, height: int) -> None:
    """Scaling while decoding never goes below what the later filter should start from."""
    scale = images._draft_scale(width, height)
    assert scale in (1, 2, 4, 8)
    if scale > 1:
        assert max(width, height) / scale >= 512
        assert min(width, height) / scale >= 256


def test_large_pictures_keep_colours_and_place() -> None:
    """Scaling, colour conversion and turning work together."""
    for kind, extra in ((MediaType.JPEG, {"quality": 95}), (MediaType.PNG, {})):
        image = media_zoo.stored(6, media_zoo.picture(scale=16))
        data = media_zoo.saved(image, kind.name, exif=media_zoo.exif(6), **extra)
        still = decode_still(data, kind, NO_CAP)
        assert (still.width, still.height) == (96 * 16, 64 * 16)
        frame = Image.frombytes("RGB", (still.frame_width, still.frame_height), still.rgb)
        for index, expected in enumerate(media_zoo.COLOURS):
            x, y = frame.width * (1 + 2 * (index % 2)) // 4, frame.height * (1 + 2 * (index // 2)) // 4
            found = frame.getpixel((x, y))
            assert isinstance(found, tuple)
            assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 4


def test_fine_patterns_do_not_alias() -> None:
    """One-pixel stripes become grey, not stripes of another width."""
    stripes = Image.frombytes("L", (2400, 1800), bytes([0, 255]) * (1200 * 1800))
    still = decode_still(media_zoo.saved(stripes, "PNG"), MediaType.PNG, NO_CAP)
    inner = Image.frombytes("RGB", (still.frame_width, still.frame_height), still.rgb).crop((4, 4, 700, 500))
    assert all(90 <= low <= high <= 165 for low, high in inner.getextrema())  # type: ignore[misc]


def test_a_profile_is_known_by_what_it_does() -> None:
    """sRGB under any name costs nothing; another profile that calls itself sRGB is applied."""
    assert colour._transform(media_zoo.srgb_profile(), "RGB") is None
    assert colour._transform(media_zoo.swapped_profile(), "RGB") is not None
    assert colour._transform(b"nonsense" * 40, "RGB") is None
    assert colour._transform(media_zoo.srgb_profile(), "L") is None  # of another colour space: it cannot apply


def test_the_profile_cache_is_bounded() -> None:
    """Each picture may bring a profile of its own; they are not all kept."""
    for number in range(40):
        profile = media_zoo.srgb_profile() + bytes([number])
        data = media_zoo.saved(media_zoo.picture(), "PNG", icc_profile=profile)
        decode_still(data, MediaType.PNG, NO_CAP)
    assert len(colour._transforms) <= 16


def test_the_pixel_cap_is_exact() -> None:
    """A picture of exactly the cap is decoded, one of a pixel more is not."""
    data = media_zoo.saved(media_zoo.picture(), "PNG")
    pixels = media_zoo.WIDTH * media_zoo.HEIGHT
    assert decode_still(data, MediaType.PNG, pixels).width == media_zoo.WIDTH
    with pytest.raises(Unscannable, match="megapixels") as caught:
        decode_still(data, MediaType.PNG, pixels - 1)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("kind", media_zoo.whole())
def test_every_format_obeys_the_pixel_cap(kind: MediaType) -> None:
    """Also those whose library would decode before it tells the size."""
    with pytest.raises(Unscannable) as caught:
        decode_still(media_zoo.whole()[kind], kind, 100)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("kind", media_zoo.whole())
def test_whole_files_are_not_called_cut(kind: MediaType) -> None:
    """The structure check accepts good files, so that it can be believed about bad ones."""
    assert not is_cut(media_zoo.whole()[kind], kind)
    assert all(not is_cut(sample.data, sample.media_type) for sample in media_zoo.good())


@given(st.sampled_from(sorted(media_zoo.whole())), st.data())
def test_flipped_bytes_give_a_picture_or_a_reason(kind: MediaType, draw: st.DataObject) -> None:
    """Damage anywhere raises nothing but `Unscannable`."""
    data = bytearray(media_zoo.whole()[kind])
    for at in draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=6)):
        data[at] = draw.draw(st.integers(0, 255))
    try:
        decode_still(bytes(data), kind, 1_000_000)
    except Unscannable as refusal:
        assert refusal.reason in (Reason.CORRUPT, Reason.TRUNCATED, Reason.UNSUPPORTED, Reason.TOO_LARGE)
