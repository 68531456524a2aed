"""Clips: every container and codec, every frame at its time, upright; and what is damaged, by what is left of it."""

from __future__ import annotations

import gc
import io
import struct
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Part
from fedi_safety.core.types import Frame
from fedi_safety.media import Caps, SandboxDecoder
from fedi_safety.media.decoder.formats import video
from fedi_safety.media.sniff import sniff
from support.corpus import moving
from support.corpus.media_zoo import saved
from support.corpus.moving import clip, number, numbered, picture, shown, sound

COUNT = 30
X264 = {"preset": "ultrafast", "g": "12", "bf": "2", "threads": "1"}
MP4 = MediaType.MP4

FORMS: dict[str, tuple[MediaType, str, str, dict[str, Any]]] = {
    "mp4, H.264": (MP4, "mp4", "libx264", {"options": X264}),
    "mp4, H.264 with frames between": (MP4, "mp4", "libx264", {"options": X264 | {"preset": "fast", "bf": "3"}}),
    "mp4, H.264, fragments": (
        MP4,
        "mp4",
        "libx264",
        {"options": X264, "container_options": {"movflags": "frag_keyframe"}},
    ),
    "mp4, H.265": (
        MP4,
        "mp4",
        "libx265",
        {"options": {"preset": "ultrafast", "x265-params": "keyint=12:log-level=none"}},
    ),
    "mp4, AV1": (MP4, "mp4", "libsvtav1", {"options": {"preset": "12", "svtav1-params": "keyint=12"}}),
    "mp4, MPEG-4": (MP4, "mp4", "mpeg4", {}),
    "mov, H.264": (MediaType.QUICKTIME, "mov", "libx264", {"options": X264}),
    "mov, ProRes": (MediaType.QUICKTIME, "mov", "prores_ks", {"pixels": "yuv422p10le"}),
    "mov, Motion JPEG": (MediaType.QUICKTIME, "mov", "mjpeg", {"pixels": "yuvj420p"}),
    "mkv, H.264": (MediaType.MATROSKA, "matroska", "libx264", {"options": X264}),
    "mkv, FFV1": (MediaType.MATROSKA, "matroska", "ffv1", {}),
    "webm, VP8": (MediaType.WEBM, "webm", "libvpx", {"options": {"deadline": "realtime", "g": "12"}}),
    "webm, VP9": (MediaType.WEBM, "webm", "libvpx-vp9", {"options": {"deadline": "realtime", "g": "12"}}),
    "webm, AV1": (MediaType.WEBM, "webm", "libsvtav1", {"options": {"preset": "12", "svtav1-params": "keyint=12"}}),
    "ogv, VP8": (MediaType.OGG, "ogg", "libvpx", {"options": {"deadline": "realtime", "g": "12"}}),
    "avi, MPEG-4": (MediaType.AVI, "avi", "mpeg4", {}),
    "avi, MS MPEG-4": (MediaType.AVI, "avi", "msmpeg4", {}),
    "avi, raw": (MediaType.AVI, "avi", "rawvideo", {}),
}
"""Kind, container, encoder and its options. Nothing here encodes Theora."""


def made(form: str, count: int = COUNT, **more: Any) -> bytes:
    """Encode a clip of numbered pictures."""
    _, container, codec, options = FORMS[form]
    return clip(container, codec, (numbered(i) for i in range(count)), **(options | more))


def numbers(frames: Sequence[Frame]) -> list[int]:
    """Read the numbers that frames show."""
    return [number(picture(frame)) for frame in frames]


@pytest.mark.sampled(9)
@pytest.mark.parametrize("form", FORMS)
def test_every_frame_is_found_at_its_time(form: str) -> None:
    """Each format is told by its content; within the budget nothing is left out, and each frame says where it is."""
    data = made(form)
    assert sniff(data[:4096]) is FORMS[form][0]
    frames, went = shown(data, FORMS[form][0])
    assert went.problem is None
    assert (went.total, went.more) == (COUNT, False)
    assert numbers(frames) == list(range(COUNT))
    assert [frame.index for frame in frames] == list(range(COUNT))
    times = [frame.place.time_s for frame in frames]
    assert all(time is not None and abs(time - i / 25) < 0.03 for i, time in enumerate(times))
    assert all(moving.upright(frame) for frame in frames)


@pytest.mark.sampled(24)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(4))
def test_chosen_frames_are_what_they_are_called(form: str, seed: int) -> None:
    """Decoding a few frames only gives the same pictures as decoding all."""
    frames, went = shown(made(form), FORMS[form][0], frames=7, seed=seed)
    assert went.problem is None
    assert (went.total, went.more) == (COUNT, True)
    assert numbers(frames) == [frame.index for frame in frames]
    assert len(frames) == 7
    assert {frame.index for frame in frames} >= {0, COUNT - 1}


def test_colours() -> None:
    """What was red is red, also where the coding has less of it than of light."""
    (frame, *_), _ = shown(made("mp4, H.264", options=X264 | {"crf": "10"}), MP4)
    found = picture(frame)
    for at, expected in (((8, 6), (200, 30, 30)), ((150, 6), (30, 60, 200)), ((5, 90), (110, 110, 110))):
        pixel = found.getpixel(at)
        assert isinstance(pixel, tuple)
        assert max(abs(a - b) for a, b in zip(pixel, expected, strict=True)) <= 12, (at, pixel)


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_honoured(degrees: int, flips: tuple[bool, bool]) -> None:
    """A clip that says how it must be turned comes out upright."""
    turned = numbered(5)
    # The other way round: flips come after the rotation.
    if flips[0]:
        turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if flips[1]:
        turned = turned.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    turned = turned.rotate(-degrees, expand=True)
    data = clip("mp4", "libx264", [turned] * 3, options=X264, turn=(degrees, *flips))
    (frame, *_), _ = shown(data, MP4)
    assert (frame.width, frame.height) == (moving.WIDTH, moving.HEIGHT)
    assert moving.upright(frame)
    assert number(picture(frame)) == 5


def test_pixels_that_are_not_square() -> None:
    """Faces must not be stretched: the frame has the shape that a viewer sees."""
    squeezed = numbered(9).resize((moving.WIDTH // 2, moving.HEIGHT))
    (frame, *_), _ = shown(clip("mp4", "libx264", [squeezed] * 2, options=X264, aspect=(2, 1)), MP4)
    assert (frame.width, frame.height) == (moving.WIDTH, moving.HEIGHT)
    assert number(picture(frame)) == 9


def test_a_changing_rate() -> None:
    """Times are the clip's own, not counted."""
    times = [0, 40, 80, 2000, 2010, 9000]
    frames, _ = shown(
        clip("matroska", "libx264", map(numbered, range(6)), options=X264, times=times), MediaType.MATROSKA
    )
    assert numbers(frames) == list(range(6))
    assert [frame.place.time_s for frame in frames] == pytest.approx([time / 1000 for time in times])
    assert frames[5].place.text == "at 0:09.00"


def test_one_frame_a_second_is_drawn_from_the_whole_length() -> None:
    """The even grid is one of time, not of frames: a burst of frames does not take all the budget."""
    times = [*range(0, 800, 8), *(1000 * second for second in range(1, 11))]
    data = clip("matroska", "libx264", map(numbered, range(len(times))), options=X264 | {"g": "1"}, times=times)
    frames, _ = shown(data, MediaType.MATROSKA, frames=16)
    late = [frame for frame in frames if (frame.place.time_s or 0) >= 1]
    assert len(late) >= 6


def test_several_tracks() -> None:
    """A further track is looked at as well, and named."""
    pictures = [numbered(i) for i in range(40)]
    others = [numbered(1000 + i) for i in range(40)]
    data = clip("mp4", "libx264", pictures, options=X264, second=others)
    frames, went = shown(data, MP4, frames=16)
    assert (went.total, went.more) == (80, True)
    first = [frame for frame in frames if frame.place.track == 1]
    second = [frame for frame in frames if frame.place.track == 2]
    assert numbers(first) == [frame.index for frame in first]
    assert numbers(second) == [1000 + frame.index - 40 for frame in second]
    assert len(first) == len(second) == 8
    assert second[-1].place.text == "track 2 at 0:01.56"


@pytest.mark.parametrize(("form", "kind"), [("mp4", MP4), ("matroska", MediaType.MATROSKA)])
def test_cover_art(form: str, kind: MediaType) -> None:
    """A picture that players show before they play is looked at."""
    cover = saved(numbered(77, (320, 192)), "JPEG", quality=95)
    data = clip(form, "libx264", map(numbered, range(3)), options=X264, cover=cover)
    frames, went = shown(data, kind)
    assert went.problem is None
    assert numbers(frames) == [0, 1, 2, 77]
    assert frames[3].place.part is Part.COVER
    assert frames[3].place.text == "cover picture"


def test_what_is_attached_and_no_picture() -> None:
    """Fonts are no gap; a picture that calls itself a font is looked at."""
    hidden = saved(numbered(78), "PNG")
    for data, expected in ((b"\0\1\0\0 a font", [0, 1, 2]), (hidden, [0, 1, 2, 78])):
        made_of = clip("matroska", "libx264", map(numbered, range(3)), options=X264, attached=("font/ttf", data))
        frames, went = shown(made_of, MediaType.MATROSKA)
        assert went.problem is None
        assert numbers(frames) == expected


@pytest.mark.long
def test_large_frames_are_let_go() -> None:
    """However many frames are judged, only a few are held at once."""
    pictures = [numbered(i, (2560, 1440)) for i in range(48)]
    data = clip("mp4", "libx264", pictures, options={"preset": "ultrafast", "threads": "2"})
    with SandboxDecoder(Caps(max_memory_bytes=384 << 20, frames=48), jobs=1) as decoder:
        decoded = decoder.decode(data, MP4)
    assert decoded.partly is None
    assert numbers(decoded.frames) == list(range(48))


def test_no_threads_are_left() -> None:
    """Each takes some megabytes of the memory that a child may have; after some hundred clips there was none left."""

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    data = made("mp4, H.264", 4)
    gc.disable()  # what lies about until it is collected counts
    try:
        shown(data, MP4)
        before = threads()
        for _ in range(5):
            shown(data, MP4)
        assert threads() <= before
    finally:
        gc.enable()


def test_nearly_equal_frames_are_judged_once() -> None:
    """A clip that stands still costs one frame; a small change makes another."""
    dotted = numbered(1)
    dotted.paste((255, 255, 255), (100, 80, 106, 86))
    data = clip("mp4", "libx264", [*[numbered(1)] * 20, dotted, *[numbered(1)] * 20], options=X264 | {"crf": "12"})
    frames, _ = shown(data, MP4)
    assert len(frames) == 2
    assert 20 in [frame.index for frame in frames]


@pytest.mark.long
def test_an_instant_between_scenes_is_found() -> None:
    """One frame among 400 that shows something else is found by its size, wherever the drawn moments are."""
    still = Image.effect_noise((moving.WIDTH, moving.HEIGHT), 60).convert("RGB")
    pictures: list[Image.Image] = [still] * 400
    pictures[217] = numbered(2047)
    for codec, form, kind in (("libx264", "mp4", MP4), ("libvpx-vp9", "webm", MediaType.WEBM)):
        options = {"threads": "1"} if codec == "libx264" else {"deadline": "realtime", "threads": "1"}
        frames, _ = shown(clip(form, codec, pictures, options=options), kind, frames=16)
        assert 2047 in numbers(frames), codec


def test_transparency_on_white_and_black() -> None:
    """What is drawn in white on nothing is seen on black."""
    image = Image.new("RGBA", (moving.WIDTH, moving.HEIGHT))
    image.paste((255, 255, 255, 255), (40, 30, 120, 60))
    data = clip(
        "webm", "libvpx-vp9", [image] * 3, pixels="yuva420p", options={"deadline": "realtime", "auto-alt-ref": "0"}
    )
    frames, _ = shown(data, MediaType.WEBM)
    assert [frame.place.on_black for frame in frames] == [False, True]
    assert picture(frames[0]).getpixel((80, 45)) == picture(frames[0]).getpixel((10, 10))
    assert picture(frames[1]).convert("L").getpixel((80, 45)) > 200  # type: ignore[operator]
    assert picture(frames[1]).convert("L").getpixel((10, 10)) < 40  # type: ignore[operator]


# --- damage


@pytest.mark.parametrize(
    ("form", "fast"), [("mp4, H.264", True), ("mkv, H.264", False), ("webm, VP9", False), ("avi, MPEG-4", False)]
)
def test_a_cut_clip_is_judged_by_what_is_left(form: str, fast: bool) -> None:
    """The object says that it was judged in part, and why."""
    more = {"container_options": {"movflags": "faststart"}} if fast else {}
    data = made(form, 60, **more)
    frames, went = shown(data[: len(data) * 6 // 10], FORMS[form][0])
    assert went.problem is not None
    assert went.problem.reason is Reason.TRUNCATED
    assert "nothing after" in went.problem.detail
    assert numbers(frames) == list(range(len(frames)))
    assert 5 <= len(frames) < 60


def test_a_cut_clip_without_its_table() -> None:
    """An MP4 whose table came last shows nothing."""
    data = made("mp4, H.264")
    with pytest.raises(Unscannable) as caught:
        shown(data[: len(data) // 2], MP4)
    assert caught.value.reason is Reason.TRUNCATED


def test_garbled_in_the_middle() -> None:
    """What decodes is judged. Video decoders conceal damage, so a frame may look odd; none is lost at the ends."""
    data = bytearray(made("mp4, H.264", 60, container_options={"movflags": "faststart"}))
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(range(256)) + bytes(144)
    frames, _ = shown(bytes(data), MP4)
    found = numbers(frames)
    assert found[0] == 0
    assert found[-1] == 59


def _without_index(data: bytes) -> bytes:
    at = data.rindex(b"\x1c\x53\xbb\x6b")  # Cues
    return data[:at] + b"\xec" + data[at + 4 :]


def _lying_keys(data: bytes) -> bytes:
    """Call every frame a key frame: without the table of key frames, all of them are."""
    return data.replace(b"stss", b"free")


@pytest.mark.parametrize(
    ("form", "spoil"),
    [
        ("webm, VP9", lambda data: data),
        ("mp4, H.264", _lying_keys),
        ("avi, MPEG-4", lambda d: d.replace(b"idx1", b"JUNK")),
    ],
)
def test_a_broken_index_hides_nothing(form: str, spoil: Callable[[bytes], bytes]) -> None:
    """The index is not needed: frames are found by reading on."""
    data = spoil(made(form, 60))
    for budget in (1000, 8):
        frames, _ = shown(data, FORMS[form][0], frames=budget)
        assert numbers(frames) == [frame.index for frame in frames]
        assert len(frames) == min(60, budget)


def test_no_index_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a frame does not decode, the next one stands for it, and must not take the name that is its own."""
    decoded = [SimpleNamespace(pts=pts) for pts in (0, 2, 3)]
    monkeypatch.setattr(video._Decoder, "_decoded", lambda *_: iter(decoded))
    decoder = video._Decoder.__new__(video._Decoder)
    decoder.context = SimpleNamespace(is_open=False)
    decoder._track = SimpleNamespace(moments=[None] * 4)  # type: ignore[assignment]
    assert list(decoder.frames(0, deque([1, 3]))) == [(1, decoded[1]), (3, decoded[2])]
    assert [rank for rank, _ in decoder.frames(0, deque([1, 2]))] == [2], "one picture is shown once"


def test_sound_without_a_picture() -> None:
    """There is nothing to see, and nothing to be said of it."""
    for form, codec, kind in (("ogg", "libopus", MediaType.OGG), ("mp4", "aac", MP4)):
        with pytest.raises(Unscannable) as caught:
            shown(sound(form, codec), kind)
        assert caught.value.reason is Reason.EMPTY


def test_a_coding_that_is_not_decoded() -> None:
    """Decoders that nobody needs are not offered to attackers; the object says which one it was."""
    data = clip("mov", "qtrle", map(numbered, range(3)), pixels="rgb24")
    with pytest.raises(Unscannable, match="qtrle") as caught:
        shown(data, MediaType.QUICKTIME)
    assert caught.value.reason is Reason.UNSUPPORTED


def test_a_time_that_runs_out() -> None:
    """What was decoded until then is judged, and it is said that this is a part."""
    with pytest.raises(Unscannable) as caught:
        shown(made("mp4, H.264"), MP4, seconds=-1)
    assert caught.value.reason is Reason.TOO_SLOW


def test_the_pixel_cap() -> None:
    """A clip of too large a picture is refused before it is decoded."""
    with pytest.raises(Unscannable) as caught:
        shown(made("mp4, H.264"), MP4, max_pixels=1000)
    assert caught.value.reason is Reason.TOO_LARGE


def test_too_many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table without end is read up to a bound."""
    monkeypatch.setattr(video, "MAX_MOMENTS", 20)
    frames, went = shown(made("mp4, H.264"), MP4)
    assert len(frames) == 20
    assert went.problem is not None
    assert went.problem.reason is Reason.TOO_LARGE


def test_frames_that_an_edit_list_hides() -> None:
    """Players skip them; here they are looked at, for another player may not."""
    data = made("mp4, H.264")
    at = data.index(b"elst")
    count = struct.unpack_from(">I", data, at + 8)[0]
    assert count == 1
    hidden = data[: at + 16] + struct.pack(">i", 20 * 512) + data[at + 20 :]  # begin at the 20th frame
    frames, _ = shown(hidden, MP4)
    assert numbers(frames) == list(range(COUNT))


@pytest.mark.parametrize("kind", [kind for kind in MediaType if kind.is_clip])
def test_what_is_no_clip(kind: MediaType) -> None:
    """Bytes that only claim to be one are refused with a reason."""
    for data in (b"", b"anything", bytes(5000), io.BytesIO(saved(numbered(1), "PNG")).getvalue()):
        with pytest.raises(Unscannable) as caught:
            shown(data, kind)
        assert caught.value.reason in (Reason.CORRUPT, Reason.TRUNCATED, Reason.EMPTY, Reason.UNSUPPORTED)
