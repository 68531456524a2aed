"""I5: what viewers show of a file is judged, whatever is wrong with the file: nothing passes for clear unseen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import Frame
from fedi_safety.media import Caps, SandboxDecoder
from support.corpus import shown_anyway
from support.corpus.media_zoo import saved
from support.corpus.moving import picture
from support.corpus.shown_anyway import LARGE, Odd
from support.corpus.zoo.subject import shows, subject

SHOWN = tuple(shown_anyway.shown())
IN_PART = tuple(shown_anyway.odd_drawings())
STILLS = {
    MediaType.JPEG: saved(subject(size=LARGE), "JPEG"),
    MediaType.PNG: saved(subject(size=LARGE), "PNG"),
    MediaType.GIF: saved(subject(size=LARGE), "GIF"),
    MediaType.BMP: saved(subject(size=LARGE), "BMP"),
    MediaType.TIFF: saved(subject(size=LARGE), "TIFF"),
    MediaType.WEBP: saved(subject(size=LARGE), "WEBP"),
}


@pytest.fixture(scope="module")
def decoder() -> Iterator[SandboxDecoder]:
    """Give a decoder in its sandbox, warm from test to test."""
    with SandboxDecoder(Caps(max_seconds=20), jobs=1) as sandbox:
        yield sandbox


def _part(frame: Frame, box: tuple[int, int, int, int] | None) -> Frame:
    if box is None or box[2] > frame.width or box[3] > frame.height:
        return frame
    part = picture(frame).crop(box)
    return replace(frame, width=part.width, height=part.height, rgb=part.tobytes())


def _pixels_begin(data: bytes, kind: MediaType) -> int:
    """Return where the picture data of one of `STILLS` begins."""
    if kind is MediaType.JPEG:
        return data.rindex(b"\xff\xda") + 14
    if kind is MediaType.GIF:
        return data.index(b"\x2c\0\0\0\0") + 12
    return data.index(b"IDAT") + 6 if kind is MediaType.PNG else 54


@pytest.mark.sampled(60)
@pytest.mark.parametrize("odd", SHOWN, ids=lambda odd: odd.name)
def test_what_viewers_show_is_judged(decoder: SandboxDecoder, odd: Odd) -> None:
    """The circle is among the frames, and what is missing beside it is said."""
    decoded = decoder.decode(odd.data, decoder.sniff(odd.data[:4096]))
    assert any(shows(_part(frame, odd.where)) for frame in decoded.frames)
    if odd.partly:
        assert decoded.partly is not None
        assert decoded.partly.startswith(f"{odd.partly}: ")
    elif odd.partly is not None:
        assert decoded.partly is None


@pytest.mark.parametrize("odd", IN_PART, ids=lambda odd: odd.name)
def test_what_is_not_drawn_is_said(decoder: SandboxDecoder, odd: Odd) -> None:
    """A drawing that uses more than the renderer knows is never plainly clear."""
    decoded = decoder.decode(odd.data, decoder.sniff(odd.data[:4096]))
    assert decoded.partly is not None
    assert decoded.partly.startswith(f"{odd.partly}: ")


@pytest.mark.parametrize("kind", STILLS)
def test_no_cut_passes_for_a_whole_picture(decoder: SandboxDecoder, kind: MediaType) -> None:
    """Wherever a still is cut: the circle is seen, or it is judged in part, or it has a reason."""
    data = STILLS[kind]
    for at in [*range(20, len(data), max(1, len(data) // 40)), *range(len(data) - 14, len(data))]:
        try:
            decoded = decoder.decode(data[:at], kind)
        except Unscannable as refusal:
            assert refusal.reason in (Reason.TRUNCATED, Reason.CORRUPT), at
            continue
        assert decoded.partly is not None or any(shows(frame) for frame in decoded.frames), at


@pytest.mark.parametrize("kind", [MediaType.JPEG, MediaType.PNG, MediaType.GIF, MediaType.BMP])
def test_dropping_one_byte_hides_no_picture(decoder: SandboxDecoder, kind: MediaType) -> None:
    """Within the picture data, and behind it: there is a frame to judge all the same."""
    data = STILLS[kind]
    begin = _pixels_begin(data, kind)
    for at in [*range(begin + (len(data) - begin) // 4, len(data), max(1, len(data) // 25)), len(data) - 1]:
        decoded = decoder.decode(data[:at] + data[at + 1 :], kind)
        assert decoded.frames, at


@pytest.mark.long
@pytest.mark.parametrize("kind", [MediaType.JPEG, MediaType.PNG, MediaType.GIF])
def test_nothing_is_not_shown(decoder: SandboxDecoder, kind: MediaType) -> None:
    """A file that breaks off before its first pixel has a reason, and no verdict on an empty picture."""
    data = STILLS[kind]
    end = _pixels_begin(data, kind)
    for at in (end, end - 3, end // 2):
        with pytest.raises(Unscannable) as refusal:
            decoder.decode(data[:at], kind)
        assert refusal.value.reason in (Reason.TRUNCATED, Reason.CORRUPT)
