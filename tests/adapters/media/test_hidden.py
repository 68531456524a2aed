"""What is hidden inside or behind another medium is judged like it; ordinary files cost nothing more."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from random import Random

import pytest
from PIL import Image, ImageDraw, ImageFilter

from fedi_safety.core.enums import Detail, MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Part
from fedi_safety.media.decoder.structure.hidden import find
from fedi_safety.media.pool import SandboxDecoder
from fedi_safety.media.sniff import sniff
from support.corpus import compound, media_zoo, moving, paged, photos
from support.corpus.compound import Compound, has_subject, ordinary, subject
from support.corpus.media_zoo import saved
from support.corpus.moving import picture

SAMPLES = tuple(compound.hiding())


@pytest.fixture(scope="module")
def decoder() -> Iterator[SandboxDecoder]:
    """One child for all."""
    with SandboxDecoder(jobs=1) as one:
        yield one


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_what_is_hidden_is_shown(decoder: SandboxDecoder, sample: Compound) -> None:
    """The first frame is what the file seems to be; a further one has the red circle and says where it is."""
    assert sniff(sample.data[:4096]) is sample.media_type
    decoded = decoder.decode(sample.data, sample.media_type)
    assert decoded.partly is None
    assert decoded.frames[0].place.part is Part.PICTURE
    assert not has_subject(picture(decoded.frames[0]))
    found = [frame for frame in decoded.frames if has_subject(picture(frame))]
    assert [frame.place.part for frame in found] == [sample.part]
    assert found[0].place.text
    assert len(decoded.frames) == len({frame.index for frame in decoded.frames}) == 2
    again = decoder.decode(sample.data, sample.media_type)
    assert again.frames[-1].place.part is sample.part
    if sample.part is not Part.FURTHER_CLIP:  # which of equal frames of a clip comes first is random
        assert again.frames[-1].index == found[0].index


@pytest.mark.sampled(40)
@pytest.mark.parametrize("sample", media_zoo.good(), ids=lambda sample: sample.name)
def test_ordinary_files_have_nothing_further(sample: media_zoo.Sample) -> None:
    """No file of the zoo is taken for more than one thing."""
    assert find(sample.data, sample.media_type) == ([], None)


def _bars(image: Image.Image) -> Image.Image:
    boxed = Image.new("RGB", (160, 120))
    image.thumbnail((160, 120))
    boxed.paste(image, ((160 - image.width) // 2, (120 - image.height) // 2))
    return boxed


def _plain(image: Image.Image) -> Image.Image:
    image.thumbnail((160, 160))
    return image


THUMBNAILS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "plain": _plain,
    "bars": _bars,
    "squeezed": lambda image: image.resize((160, 120), Image.Resampling.NEAREST),
    "turned": lambda image: _plain(image).transpose(Image.Transpose.ROTATE_90),
    "sharpened": lambda image: _plain(image).filter(ImageFilter.UnsharpMask(1, 60)),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", THUMBNAILS)
def test_a_thumbnail_of_the_same_picture_is_not_judged_again(decoder: SandboxDecoder, kind: str) -> None:
    """However cameras make them, of photographs with fine detail as well."""
    for name in photos.PHOTOS:
        thumbnail = saved(THUMBNAILS[kind](photos.picture(name, 1000)), "JPEG", quality=60)
        data = saved(photos.picture(name, 1000), "JPEG", exif=b"Exif\0\0" + compound.exif_with_thumbnail(thumbnail))
        decoded = decoder.decode(data, MediaType.JPEG)
        assert (len(decoded.frames), decoded.total, decoded.partly) == (1, 1, None), name


def test_a_thumbnail_with_something_in_a_corner_is_another_picture(decoder: SandboxDecoder) -> None:
    """It is the comparison that is coarse, not the look: a sixteenth of each side is seen, in a bar as well."""
    for where in ((20, 20, 40, 40), (70, 1, 90, 12)):
        thumbnail = _bars(photos.picture("coffee", 1000))
        ImageDraw.Draw(thumbnail).ellipse(where, fill=compound.RED)
        exif = b"Exif\0\0" + compound.exif_with_thumbnail(saved(thumbnail, "JPEG"))
        decoded = decoder.decode(saved(photos.picture("coffee", 1000), "JPEG", exif=exif), MediaType.JPEG)
        assert [frame.place.part for frame in decoded.frames] == [Part.PICTURE, Part.THUMBNAIL]


def test_what_only_looks_like_a_medium_is_none(decoder: SandboxDecoder) -> None:
    """Signatures without the structure behind them, and a cut thumbnail, leave an ordinary picture what it is."""
    jpeg, small = saved(ordinary(), "JPEG"), saved(subject((160, 120)), "JPEG")
    for junk in (
        b"\xff\xd8\xff\xe0 is how a JPEG begins",
        b"\x89PNG\r\n\x1a\n and so on, and so on, and so on",
        b"GIF89a is the name of a format that nobody reads out aloud",
        b"RIFF....WEBP and RIFF....AVI are others, of forty bytes and more",
        b"\0\0\0\x20ftypisom" + bytes(60),
        b"\x1aE\xdf\xa3\x42\x82\x84webm" + bytes(60),
        b"OggS" + bytes(60),
        small[: len(small) // 8],
    ):
        for data in (jpeg + junk, compound.with_segment(jpeg, 0xFE, junk)):
            decoded = decoder.decode(data, MediaType.JPEG)
            assert (len(decoded.frames), decoded.partly) == (1, None), junk[:12]


def test_what_is_whole_and_does_not_decode_is_said(decoder: SandboxDecoder) -> None:
    """A clip in a coding that is not decoded here is a clip."""
    strange = compound.clip_of().replace(b"avc1", b"zzzz")
    decoded = decoder.decode(saved(ordinary(), "JPEG") + strange, MediaType.JPEG)
    assert len(decoded.frames) == 1
    assert decoded.partly is not None
    assert decoded.partly.startswith("unsupported: a further medium at byte")


def test_a_document_that_cannot_be_drawn_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra `pdf` a document behind a picture makes the object one that is judged in part."""
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    data = saved(ordinary(), "JPEG") + paged.pdf([compound.subject()])
    frames, went = moving.shown(data, MediaType.JPEG)
    assert len(frames) == 1
    assert went.problem is not None
    assert went.problem.reason is Reason.UNSUPPORTED
    assert "the extra `pdf`" in went.problem.detail


def test_sound_behind_a_picture_is_nothing_to_see(decoder: SandboxDecoder) -> None:
    """It leaves the picture wholly judged."""
    decoded = decoder.decode(saved(ordinary(), "JPEG") + moving.sound("mp4", "aac"), MediaType.JPEG)
    assert (len(decoded.frames), decoded.partly) == (1, None)


def test_a_good_thumbnail_does_not_speak_for_a_bad_picture(decoder: SandboxDecoder) -> None:
    """A picture of which nothing is left has no verdict, whatever its thumbnail shows."""
    data = next(sample.data for sample in SAMPLES if sample.name == "jpeg-exif-thumbnail")
    with pytest.raises(Unscannable) as refusal:
        decoder.decode(data[: data.rindex(b"\xff\xda") + 14], MediaType.JPEG)
    assert refusal.value.reason is Reason.TRUNCATED


def test_an_animation_and_a_clip_behind_one_another(decoder: SandboxDecoder) -> None:
    """Each has indexes of its own, and the budget is shared."""
    pieces = [moving.numbered(number) for number in range(40)]
    animated = saved(pieces[0], "GIF", save_all=True, append_images=pieces[1:])
    data = saved(ordinary(), "PNG") + animated + moving.clip("mp4", "mpeg4", pieces)
    first, second = decoder.decode(data, MediaType.PNG), decoder.decode(data, MediaType.PNG, Detail.FINE)
    assert first.partly is None
    turned = sum(frame.place.turned > 0 for frame in second.frames)
    assert (first.total, second.total) == (81, 81 + turned)
    assert first.more
    for decoded, most in ((first, 1 + 2 * 8), (second, 1 + 3 + 2 * 32)):
        assert len({frame.index for frame in decoded.frames}) == len(decoded.frames) <= most
        assert {frame.place.part for frame in decoded.frames} == {Part.PICTURE, Part.FURTHER, Part.FURTHER_CLIP}


# --- hostile files


def test_nested_ten_deep_is_bounded(decoder: SandboxDecoder) -> None:
    """Two levels are judged, and the object says that there is more."""
    assert decoder.decode(compound.nested(2), MediaType.JPEG).partly is None
    decoded = decoder.decode(compound.nested(10), MediaType.JPEG)
    assert len(decoded.frames) == 3
    assert decoded.partly is not None
    assert decoded.partly.startswith("too_large: media within media")


def test_more_than_eight_are_judged_in_part(decoder: SandboxDecoder) -> None:
    """Eight further pictures are shown."""
    more = [saved(Image.new("RGB", (64, 64), (20 * number, 200, 0)), "PNG") for number in range(10)]
    decoded = decoder.decode(saved(ordinary(), "JPEG") + b"".join(more), MediaType.JPEG)
    assert len(decoded.frames) == 9
    assert decoded.partly == "too_large: more than 8 further media"


def _hostile() -> Iterator[tuple[str, bytes, MediaType]]:
    jpeg, png, mp4 = saved(ordinary(), "JPEG"), saved(ordinary(), "PNG"), compound.clip_of(hidden=False)
    headless = jpeg[: jpeg.index(b"\xff\xda")]
    yield "a million comments", jpeg[:2] + compound.segment(0xFE, b"") * 1_000_000 + jpeg[2:], MediaType.JPEG
    yield "markers without segments", jpeg[:2] + b"\xff\x01" * 1_000_000 + jpeg[2:], MediaType.JPEG
    yield "a million signatures", jpeg + b"\xff\xd8\xff\xe0" * 1_000_000, MediaType.JPEG
    yield "heads without pictures", jpeg + headless * 50_000, MediaType.JPEG
    yield "pictures without ends", jpeg + jpeg[:-2] * 5_000, MediaType.JPEG
    yield "scans without frames", jpeg + (b"\xff\xd8" + compound.segment(0xDA, b"")) * 2_000_000, MediaType.JPEG
    yield "fillers", jpeg + b"\xff\xd8\xff\xe0\0\2" + b"\xff" * 30_000_000, MediaType.JPEG
    yield "a million chunks", png[:33] + media_zoo.chunk(b"prVt", b"") * 1_000_000 + png[33:], MediaType.PNG
    yield "gifs of nothing", png + (b"GIF89a\1\0\1\0\0\0\0" + b"\0" * 20) * 1_000_000, MediaType.PNG
    yield "a million boxes", mp4 + compound.box(b"free", b"") * 1_000_000, MediaType.MP4
    yield "ftyp upon ftyp", png + compound.box(b"ftyp", b"isom" + bytes(8)) * 1_000_000, MediaType.PNG
    yield "ogg upon ogg", png + (b"OggS\0\2" + bytes(30)) * 1_000_000, MediaType.PNG


HOSTILE = tuple(_hostile())


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("data", "kind"), [entry[1:] for entry in HOSTILE], ids=[entry[0] for entry in HOSTILE])
def test_hostile_structure_costs_little(data: bytes, kind: MediaType) -> None:
    """Looking through it is bounded by steps, whatever it says."""
    for last in (False, False, True):  # a busy machine is given another chance
        begun = time.process_time()
        try:
            found, problem = find(data, kind)
        except Unscannable as refusal:
            found, problem = [], refusal
        if (took := time.process_time() - begun) < 2.0:
            break
        assert not last, took
    assert len(found) <= 32
    assert problem is None or problem.reason is Reason.TOO_LARGE


def test_a_jpeg_of_a_million_pieces_is_too_large(decoder: SandboxDecoder) -> None:
    """Pillow would read them for seconds."""
    for _, data, kind in HOSTILE[:2]:
        begun = time.monotonic()
        with pytest.raises(Unscannable, match="50000 pieces") as refusal:
            decoder.decode(data, kind)
        assert refusal.value.reason is Reason.TOO_LARGE
        assert time.monotonic() - begun < 15


@pytest.mark.sampled(20)
@pytest.mark.parametrize("signature", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"OggS", b"\x1aE\xdf\xa3"])
@pytest.mark.parametrize("more", range(0, 40, 3))
def test_a_medium_that_breaks_off_in_its_head_is_none(signature: bytes, more: int) -> None:
    """Whatever follows the signature, or nothing."""
    for filler in (b"\0", b"\2", b"\xff"):
        assert find(saved(ordinary(), "PNG") + bytes(40) + signature + filler * more, MediaType.PNG)[1] is None


@pytest.mark.long
def test_looking_survives_damage() -> None:
    """Cut, garbled and spliced files are looked through without an error, whatever type they are taken for."""
    random = Random(6)
    kinds = (*MediaType,)
    for _ in range(6000):
        sample, other = random.choice(SAMPLES), random.choice(SAMPLES)
        data = bytearray(sample.data[: 1 << 15])
        for _ in range(random.choice((0, 1, 3, 30))):
            data[random.randrange(min(len(data), random.choice((64, 1 << 15))))] = random.choice((0, 1, 255, 0x7F))
        cut = random.randrange(len(data))
        data = data[:cut] if random.random() < 0.5 else data[:cut] + other.data[random.randrange(99) :][: 1 << 13]
        kind = sample.media_type if random.random() < 0.8 else random.choice(kinds)
        for one in find(bytes(data), kind)[0]:
            assert 0 <= one.start < one.end <= len(data)
