"""Which parts of a picture are looked at, and in which ways: geometry first, then pictures in this process."""

from __future__ import annotations

import time
from itertools import pairwise
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from fedi_safety.core.enums import Detail, MediaType, Reason
from fedi_safety.core.frames.places import Place, Tile
from fedi_safety.core.frames.shown import VIEW_BITS
from fedi_safety.core.types import Frame
from fedi_safety.media import SandboxDecoder
from fedi_safety.media.caps import (
    MAX_COMPARED_FRAMES,
    MAX_COVERS,
    MAX_FRAME_PIXELS,
    MAX_FURTHER,
    MAX_MOMENTS,
    MAX_TILES,
    MAX_TRACKS,
    Caps,
)
from fedi_safety.media.decoder.dispatch import decode
from fedi_safety.media.decoder.formats.images import decode_still
from fedi_safety.media.decoder.frames import tiles
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.frames.orientation import stored, upright
from fedi_safety.media.decoder.frames.still import finished
from fedi_safety.media.decoder.frames.tiles import Box, is_long, smallest_part, tile
from fedi_safety.media.decoder.frames.views import _TILES, border_box
from support.corpus import media_zoo

NO_CAP = 10**9
RED, GREY = (212, 36, 40), (128, 128, 130)
sides = st.integers(64, 30_000)
any_sides = st.integers(1, 65_535)
budgets = st.integers(1, 60)


def looked(
    data: bytes, kind: MediaType, detail: Detail = Detail.COARSE, budget: int = 12, until: float | None = None
) -> tuple[list[Frame], DecodeSummary]:
    """Look at a medium as a child does."""
    found: list[Frame] = []
    bounds = Bounds(NO_CAP, 16, until or time.monotonic() + 600, Random(1), detail, budget)
    showing = Emitter(lambda frame, _width, _height: found.append(frame), bounds)
    return found, showing.completed(decode(data, kind, bounds, showing))


def noise(width: int, height: int, seed: int = 1) -> Image.Image:
    """Draw a picture whose parts all differ."""
    small = Image.frombytes(
        "RGB", (width // 20 + 1, height // 20 + 1), Random(seed).randbytes((width // 20 + 1) * (height // 20 + 1) * 3)
    )
    return small.resize((width, height), Image.Resampling.BICUBIC)


def where(frames: list[Frame]) -> list[str]:
    """Return what the places say."""
    return [frame.place.text for frame in frames]


# --- geometry


@given(sides, sides, budgets, st.booleans())
def test_tiles_stay_within_the_budget_and_the_picture(width: int, height: int, budget: int, closely: bool) -> None:
    found = tile(width, height, budget, Random(1), closely=closely)
    assert len(found.cuts) <= min(budget, found.of)
    for cut in found.cuts:
        assert 0 <= cut.box.left < cut.box.right <= 1
        assert 0 <= cut.box.top < cut.box.bottom <= 1
        assert 1 <= cut.number <= found.of
    assert len({cut.number for cut in found.cuts}) == len(found.cuts)
    assert 0 <= found.kind < tiles.KINDS


@given(sides, sides, budgets, st.booleans(), st.floats(0, 1), st.floats(0, 1))
def test_what_is_half_as_large_as_the_short_side_is_whole_in_one_tile(
    width: int, height: int, budget: int, closely: bool, across: float, down: float
) -> None:
    """Wherever it is, as long as the budget is what the tiling needs."""
    assume(is_long(width, height))
    found = tile(width, height, budget, Random(1), closely=closely)
    assume(found.kind < tiles.KINDS - 2)
    subject = min(width, height) / 2
    left, top = across * (width - subject) / width, down * (height - subject) / height
    right, bottom = left + subject / width, top + subject / height
    slack = 1e-9
    assert any(
        b.left <= left + slack and b.top <= top + slack and right <= b.right + slack and bottom <= b.bottom + slack
        for b in (cut.box for cut in found.cuts)
    )


@given(st.integers(64, 3000), st.integers(1, 400), budgets)
def test_tiles_of_long_pictures_are_as_square_as_the_budget_allows(side: int, tenths: int, budget: int) -> None:
    """A tile is never longer than twice its other side; more of them would not be needed."""
    width, height = side, round(side * (2.51 + tenths / 10))
    assume(is_long(width, height))
    found = tile(width, height, budget, Random(1), closely=False)
    for cut in found.cuts:
        assert 0.99 <= (cut.box.bottom - cut.box.top) * height / width <= 2.01
    covered = max((b.box.top - a.box.bottom for a, b in pairwise(found.cuts)), default=0.0) <= 1e-9
    if budget >= height / width / 2 and budget > 1:
        assert covered
        assert found.cuts[0].box.top == 0
        assert found.cuts[-1].box.bottom == pytest.approx(1)


def test_where_the_budget_is_too_small_gaps_are_drawn_anew() -> None:
    """Spread over the whole length, at other places each time."""
    passes = [[c.box.top for c in tile(100, 20_000, 12, Random(seed), closely=False).cuts] for seed in range(20)]
    assert all(len(tops) == 12 for tops in passes)
    assert all(b - a <= 2 / 12 for tops in passes for a, b in pairwise(tops))
    assert len({tuple(tops) for tops in passes}) == 20


@pytest.mark.parametrize(
    ("size", "budget", "closely", "count", "of"),
    [
        ((1200, 900), 12, False, 0, 0),  # an ordinary photograph costs nothing
        ((4000, 3000), 12, False, 0, 0),
        ((1080, 2340), 12, False, 0, 0),  # and so does the screen of a telephone
        ((1080, 2700), 12, False, 0, 0),
        ((1080, 2710), 12, False, 5, 5),
        ((3240, 1080), 12, False, 5, 5),
        ((1000, 10_000), 12, False, 10, 10),  # half as long again as wide
        ((1000, 20_000), 12, False, 12, 12),  # twice as long as wide
        ((1000, 20_000), 48, True, 39, 39),  # squares
        ((1000, 40_000), 12, False, 12, 27),
        ((40, 4000), 12, False, 0, 0),  # a line
        ((600, 450), 48, True, 0, 0),  # as large as what is looked at
        ((1200, 900), 48, True, 9, 9),
        ((4000, 3000), 48, True, 25, 25),
        ((1920, 1080), 48, True, 35, 35),
        ((1000, 2400), 48, True, 45, 45),
        ((1000, 2400), 40, True, 21, 21),
        ((4000, 3000), 10, True, 9, 9),
        ((4000, 3000), 4, True, 4, 9),
        ((1000, 3000), 0, False, 0, 2),
        ((640, 63), 48, True, 48, 87),  # a bar
        ((1072, 24), 48, True, 0, 0),  # it would be 399 tiles
        ((20_000, 16), 48, True, 0, 0),  # and here thousands of less than a thousandth each
        ((1, 5000), 48, True, 0, 0),
    ],
)
def test_how_many(size: tuple[int, int], budget: int, closely: bool, count: int, of: int) -> None:
    found = tile(*size, budget, Random(1), closely=closely)
    assert (len(found.cuts), found.of) == (count, of)


@given(st.integers(640, 9000), st.floats(0.4, 2.5))
def test_tiles_of_large_pictures_are_nearly_square(width: int, ratio: float) -> None:
    """Whatever the picture's shape: half over their neighbours, so that what is half as large is whole in one."""
    height = round(width * ratio)
    assume(not is_long(width, height))
    found = tile(width, height, 100, Random(1), closely=True)
    for box in (cut.box for cut in found.cuts):
        across, down = (box.right - box.left) * width, (box.bottom - box.top) * height
        assert 0.55 <= across / down <= 1.8
    lefts, tops = (
        {round(edge, 6) for edge in edges} for edges in zip(*(cut.box[:2] for cut in found.cuts), strict=True)
    )
    assert len(lefts) * len(tops) == found.of == len(found.cuts)


@given(sides, sides, budgets, st.booleans())
def test_the_smallest_part_is_the_smallest_tile(width: int, height: int, budget: int, closely: bool) -> None:
    """A decoder that scales while it decodes goes by it."""
    smallest = smallest_part(width, height, budget, closely=closely)
    for cut in tile(width, height, budget, Random(1), closely=closely).cuts:
        found = (cut.box.right - cut.box.left) * width, (cut.box.bottom - cut.box.top) * height
        assert all(a + 1.5 >= b for a, b in zip(found, smallest, strict=True))


@given(any_sides, any_sides, st.integers(0, MAX_TILES), st.booleans())
def test_every_tile_has_a_number_of_its_own(width: int, height: int, budget: int, closely: bool) -> None:
    """Of lines as well: a higher one would be taken for another way, or does not fit into a frame's number."""
    found = tile(width, height, budget, Random(1), closely=closely)
    assert all(1 <= cut.number <= MAX_TILES for cut in found.cuts)


@pytest.mark.parametrize("orientation", range(10))
def test_parts_are_found_in_the_stored_picture(orientation: int) -> None:
    """Cut out as stored and turned, or turned and cut out: the same pixels."""
    image = noise(200, 140)
    turned = upright(image, orientation)
    part = (0.1, 0.25, 0.6, 0.45)
    box = tuple(round(share * length) for share, length in zip(part, turned.size * 2, strict=True))
    assert len(box) == 4
    found = upright(image.crop(stored(part, orientation, image.size)), orientation)
    assert found.tobytes() == turned.crop(box).tobytes()


def test_numbers_of_ways_and_moments_never_meet() -> None:
    """And fit into what the ledger keeps of a frame's number: 31 bits."""
    moments = 2 * MAX_TRACKS * MAX_MOMENTS + 2 * MAX_COVERS + 2  # and what comes before a track
    assert moments < 1 << VIEW_BITS
    assert (_TILES + tiles.KINDS * MAX_TILES + 1) << VIEW_BITS < 1 << 31


# --- words


def test_places_say_what_was_done() -> None:
    assert Place(tile=Tile(3, 9, 0, 200, 333, 600)).text == "tile 3 of 9, 0-33 % x 20-60 %"
    assert Place(bare=True, turned=90, on_black=True).text == "without its border turned by 90° on black"
    assert Place(page=2, tile=Tile(1, 2, 0, 0, 1000, 667)).text == "picture 2 tile 1 of 2, 0-100 % x 0-67 %"


@pytest.mark.parametrize(
    "numbers",
    [(0, 1, 0, 0, 10, 10), (2, 1, 0, 0, 10, 10), (1, 1, 10, 0, 10, 10), (1, 1, 0, 0, 1001, 10), (1, 1, 0, -1, 9, 9)],
)
def test_a_tile_is_a_part(numbers: tuple[int, int, int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no such tile"):
        Tile(*numbers)


# --- borders


def framed(size: tuple[int, int], at: tuple[int, int], inner: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Put a picture on an even ground."""
    image = Image.new("RGB", size, colour)
    image.paste(inner, at)
    return image


def assert_near(box: Box | None, expected: tuple[float, float, float, float]) -> None:
    assert box is not None
    assert all(abs(a - b) < 0.02 for a, b in zip(box, expected, strict=True)), box


def test_borders_are_found() -> None:
    photo = noise(300, 200)
    assert border_box(photo, 300, 200) is None
    assert_near(border_box(framed((600, 400), (150, 50), photo, (0, 0, 0)), 600, 400), (0.25, 0.125, 0.75, 0.625))
    bars = framed((300, 800), (0, 300), photo, (255, 255, 255))
    assert_near(border_box(bars, 300, 800), (0, 0.375, 1, 0.625))
    nested = framed((900, 900), (100, 60), framed((600, 400), (150, 50), photo, (240, 230, 200)), (20, 20, 20))
    assert_near(border_box(nested, 900, 900), (250 / 900, 110 / 900, 550 / 900, 310 / 900))
    two = framed((300, 400), (0, 100), photo, (0, 0, 0))
    two.paste((255, 255, 255), (0, 300, 300, 400))
    assert_near(border_box(two, 300, 400), (0, 0.25, 1, 0.75))
    assert border_box(Image.new("RGB", (600, 400), RED), 600, 400) is None
    assert border_box(framed((600, 400), (10, 10), noise(12, 12), (0, 0, 0)), 600, 400) is None  # nothing to see


def test_a_border_is_found_in_a_jpeg() -> None:
    """Ringing and rounding make none of it uneven."""
    data = media_zoo.saved(framed((1200, 900), (400, 300), noise(400, 300), (250, 250, 250)), "JPEG", quality=60)
    still = decode_still(data, MediaType.JPEG, NO_CAP)
    assert_near(border_box(still.image, still.width, still.height), (1 / 3, 1 / 3, 2 / 3, 2 / 3))


# --- looks


@pytest.mark.long
@pytest.mark.parametrize("kind", [MediaType.JPEG, MediaType.PNG])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_long_picture_is_shown_in_tiles(kind: MediaType, orientation: int) -> None:
    """Each shows what is at its place, upright, with as many pixels as a picture of that size would have."""
    image = noise(500, 5000)
    ImageDraw.Draw(image).ellipse((150, 4000, 350, 4200), fill=RED)
    data = media_zoo.saved(media_zoo.stored(orientation, image), kind.name, exif=media_zoo.exif(orientation))
    frames, went = looked(data, kind)
    assert where(frames[1:3]) == ["tile 1 of 10, 0-100 % x 0-15 %", "tile 2 of 10, 0-100 % x 9-24 %"]
    # Some viewers do not turn a PNG file: its pixels are looked at as they are stored, too.
    both = kind is MediaType.PNG and orientation != 1
    looks, total = (14, 18) if both else (11, 11)
    assert (len(frames), went.total, went.closer, went.more, went.problem) == (looks, total, True, False, None)
    assert len({frame.index for frame in frames}) == looks
    for frame in frames[1:11]:
        cut = frame.place.tile
        assert cut is not None
        assert min(frame.width, frame.height) >= 256
        assert frame.width * frame.height <= MAX_FRAME_PIXELS
        middle = 4100 - 5 * cut.top, 5 * (cut.bottom - cut.top)
        if 0.2 < middle[0] / middle[1] < 0.8:
            shown = Image.frombytes("RGB", (frame.width, frame.height), frame.rgb)
            pixel = shown.getpixel((frame.width // 2, round(frame.height * middle[0] / middle[1])))
            assert isinstance(pixel, tuple)
            assert max(abs(a - b) for a, b in zip(pixel, RED, strict=True)) < 24


def test_a_tile_has_the_detail_of_a_picture_of_its_size() -> None:
    """JPEG files are scaled while they are decoded, but not to the size of the whole frame."""
    image = noise(1080, 10_800)
    frames, _ = looked(media_zoo.saved(image, "JPEG"), MediaType.JPEG)
    whole, *cuts = frames
    assert whole.width < 300
    assert all((frame.width, frame.height) == (512, 768) for frame in cuts)


@pytest.mark.long
def test_an_ordinary_picture_is_one_frame_at_a_first_look() -> None:
    for size in ((1200, 900), (900, 1200), (1080, 2340), (2400, 1800), (30, 3000)):
        frames, went = looked(media_zoo.saved(noise(*size), "PNG"), MediaType.PNG)
        assert where(frames) == [""]
        assert (went.total, went.closer) == (1, True)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("size", [(1072, 24), (2000, 1), (4000, 2), (20_000, 16), (1, 5000), (640, 63)])
def test_a_second_look_bears_lines(size: tuple[int, int]) -> None:
    with SandboxDecoder(jobs=1) as decoder:
        decoded = decoder.decode(media_zoo.saved(noise(*size), "PNG"), MediaType.PNG, Detail.FINE)
    assert decoded.partly is None
    assert (decoded.width, decoded.height) == size


def test_a_second_look_turns_and_cuts() -> None:
    frames, went = looked(media_zoo.saved(noise(1600, 1200), "JPEG"), MediaType.JPEG, Detail.FINE, 48)
    texts = where(frames)
    assert texts[:4] == ["", "turned by 90°", "turned by 180°", "turned by 270°"]
    assert texts[4] == "tile 1 of 25, 0-33 % x 0-33 %"
    assert len(texts) == went.total == 29
    whole = Image.frombytes("RGB", (frames[0].width, frames[0].height), frames[0].rgb)
    for frame, turn in zip(frames[1:4], ("ROTATE_270", "ROTATE_180", "ROTATE_90"), strict=True):
        assert frame.rgb == whole.transpose(Image.Transpose[turn]).tobytes()


def test_wide_borders_are_cut_at_a_first_look() -> None:
    """What is within is shown with its own pixels; a narrow border can stay until the second pass."""
    wide = media_zoo.saved(framed((2000, 1500), (700, 500), noise(500, 400), (0, 0, 0)), "PNG")
    frames, went = looked(wide, MediaType.PNG)
    assert where(frames) == ["", "without its border"]
    assert abs(frames[1].width - 500) < 30
    assert went.total == 2
    second, _ = looked(wide, MediaType.PNG, Detail.FINE, 48)
    assert where(second) == [
        *("", "without its border", "without its border turned by 90°"),
        *("without its border turned by 180°", "without its border turned by 270°"),
    ]
    narrow = media_zoo.saved(framed((600, 400), (40, 40), noise(520, 320), (0, 0, 0)), "PNG")
    assert where(looked(narrow, MediaType.PNG)[0]) == [""]
    assert where(looked(narrow, MediaType.PNG, Detail.FINE, 48)[0])[1] == "without its border"


def test_tiles_are_cut_within_a_border() -> None:
    strip = framed((1200, 4000), (400, 0), noise(400, 4000), (255, 255, 255))
    frames, _ = looked(media_zoo.saved(strip, "PNG"), MediaType.PNG)
    assert where(frames[:2]) == ["", "without its border"]
    assert frames[2].place.text.startswith("tile 1 of 10, 33-67 % x 0-1")
    assert len(frames) == 12


def test_a_frame_that_both_looks_show_has_the_same_number() -> None:
    """So that it is judged once."""
    data = media_zoo.saved(noise(400, 2000), "PNG")
    first, _ = looked(data, MediaType.PNG)
    second, _ = looked(data, MediaType.PNG, Detail.FINE, 48)
    assert {f.index: f.rgb for f in first} == {f.index: f.rgb for f in second}
    longer = media_zoo.saved(noise(100, 2000), "PNG")
    first, second = (looked(longer, MediaType.PNG, *how)[0] for how in ((Detail.COARSE, 12), (Detail.FINE, 48)))
    assert {f.index for f in first} & {f.index for f in second} == {0}


def test_what_is_transparent_is_tiled_on_both_grounds() -> None:
    image = noise(200, 1000).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((200, 1000)))
    frames, _ = looked(media_zoo.saved(image, "PNG"), MediaType.PNG)
    assert {frame.place.on_black for frame in frames} == {True, False}
    assert len(frames) == 2 * (1 + 9)
    assert len({frame.index for frame in frames}) == len(frames)


def test_without_a_budget_the_whole_is_all() -> None:
    frames, went = looked(media_zoo.saved(noise(200, 1000), "PNG"), MediaType.PNG, budget=0)
    assert where(frames) == [""]
    assert went.closer


def test_views_of_a_still_are_one_picture() -> None:
    """Its tiles, its turns, the same on black: whatever is shown of it, also at a second pass."""
    image = noise(700, 700).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((700, 700)))
    frames, _ = looked(media_zoo.saved(image, "PNG"), MediaType.PNG, Detail.FINE, 48)
    assert len(frames) > 20 and any(f.place.on_black for f in frames) and any(f.place.turned for f in frames)
    assert {frame.picture for frame in frames} == {0}


def test_frames_of_what_moves_are_pictures_with_their_own_tiles() -> None:
    """Also where a tile shows what another frame has shown: what a frame shows is judged together."""
    first, second = noise(200, 800, 1), noise(200, 800, 2)
    second.paste(first.crop((0, 0, 200, 400)))  # the upper half stays
    data = media_zoo.saved(first, "WEBP", save_all=True, append_images=[second], lossless=True, duration=500)
    frames, _ = looked(data, MediaType.WEBP)
    tiles_of = {time: [f for f in frames if f.place.time_s == time and f.place.tile] for time in (0.0, 0.5)}
    assert [len(found) for found in tiles_of.values()] == [4, 4]
    assert {frame.picture for frame in frames if frame.place.time_s == 0.0} == {0}
    assert {frame.picture for frame in frames if frame.place.time_s == 0.5} == {1}


def test_what_nearly_equal_frames_show_is_of_one_picture() -> None:
    """The second is left out as a whole, but for a dot in a tile: the dot belongs to the first."""
    first = noise(200, 800)
    second = first.copy()
    second.paste((0, 0, 0), (100, 60, 103, 63))
    data = media_zoo.saved(first, "WEBP", save_all=True, append_images=[second], lossless=True, duration=500)
    frames, _ = looked(data, MediaType.WEBP)
    assert [f.place.text for f in frames if f.place.tile is None] == ["at 0:00.00"]
    assert any(f.place.time_s == 0.5 for f in frames), "the tile with the dot"
    assert {frame.picture for frame in frames} == {0}


def test_a_moment_is_one_picture_in_whichever_way_viewers_show_it() -> None:
    """An animation that some viewers turn: each way has frames of its own, of the same pictures."""
    images = [noise(300, 200, seed) for seed in (1, 2)]
    exif = Image.Exif()
    exif[0x0112] = 6
    data = media_zoo.saved(
        images[0], "WEBP", save_all=True, append_images=images[1:], lossless=True, duration=500, exif=exif.tobytes()
    )
    frames, _ = looked(data, MediaType.WEBP)
    shapes = {(frame.width > frame.height, frame.place.time_s, frame.picture) for frame in frames}
    assert shapes == {(wide, time_s, picture) for wide in (True, False) for time_s, picture in ((0.0, 0), (0.5, 1))}


def test_the_child_tells_which_picture_a_frame_shows() -> None:
    first = noise(200, 800, 1).convert("RGBA")
    first.putalpha(Image.linear_gradient("L").resize((200, 800)))
    images = [first, noise(200, 800, 2).convert("RGBA")]
    data = media_zoo.saved(images[0], "WEBP", save_all=True, append_images=images[1:], lossless=True, duration=500)
    with SandboxDecoder(jobs=1) as decoder:
        frames = decoder.decode(data, MediaType.WEBP).frames
    assert any(frame.place.on_black for frame in frames) and any(frame.place.tile for frame in frames)
    assert {(frame.place.time_s, frame.picture) for frame in frames} == {(0.0, 0), (0.5, 1)}


def test_when_the_time_is_up_it_is_said() -> None:
    frames, went = looked(media_zoo.saved(noise(200, 1000), "PNG"), MediaType.PNG, until=time.monotonic() - 1)
    assert where(frames) == [""]
    assert went.problem is not None
    assert went.problem.reason is Reason.TOO_SLOW


def test_pictures_of_one_medium_share_a_budget() -> None:
    found: list[Frame] = []
    bounds = Bounds(NO_CAP, 16, time.monotonic() + 600, Random(1), Detail.COARSE, 12)
    showing = Emitter(lambda frame, _width, _height: found.append(frame), bounds)
    for page in (1, 2, 3):
        still = finished(noise(200, 1000, page), 200, 1000)
        showing.show(2 * page, Place(page=page), still, on_black_index=2 * page + 1)
    assert [sum(f.place.tile is not None for f in found if f.place.page == page) for page in (1, 2, 3)] == [9, 3, 0]
    assert showing.completed(DecodeSummary(3)).total == 3 + 9 + 3 + 3


def test_a_long_animation_is_tiled_too() -> None:
    """Its frames share the budget; none is turned."""
    images = [noise(200, 800, seed) for seed in (1, 2)]
    data = media_zoo.saved(images[0], "WEBP", save_all=True, append_images=images[1:], lossless=True, duration=500)
    frames, went = looked(data, MediaType.WEBP)
    assert "at 0:00.00 tile 1 of 4, 0-100 % x 0-38 %" in where(frames)
    assert len(frames) == 2 + 4 + 4
    assert not went.closer
    assert not any(f.place.turned for f in looked(data, MediaType.WEBP, Detail.FINE, 48)[0])


def test_caps_of_tiles() -> None:
    assert Caps(tiles=0, more_tiles=0).most_frames == 2 * (64 + MAX_COVERS + 2 * MAX_FURTHER) + MAX_COMPARED_FRAMES
    assert Caps(tiles=3, more_tiles=5).most_frames == 2 * (64 + MAX_COVERS + 2 * MAX_FURTHER + 5) + MAX_COMPARED_FRAMES
    for number in (-1, MAX_TILES + 1):
        with pytest.raises(ValueError, match="tiles"):
            Caps(tiles=number)
        with pytest.raises(ValueError, match="more_tiles"):
            Caps(more_tiles=number)
