"""What a downscale hides, and what lies on its head: whole passes, real decoders and detectors, stand-in policies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image, ImageDraw

from fedi_safety.config.schema import Clip as ClipSettings
from fedi_safety.core.enums import Detail, MediaType, Verdict
from fedi_safety.core.frames.places import Place
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Detector
from fedi_safety.core.types import Decoded, Evidence, Frame
from fedi_safety.media import Caps, SandboxDecoder
from fedi_safety.policies import parse_policy
from support import stand_in
from support.corpus import shapes
from support.corpus.photos import grey_faces, jpeg_bytes, picture
from support.detectors import opened
from support.fakes import FakeStore
from support.passes import Bench
from support.program import FACES

RED = shapes.COLOURS["red"]
WHITE = shapes.BACKGROUNDS["white"]


class Counting(SandboxDecoder):
    """Counts what is decoded."""

    def __init__(self, caps: Caps | None = None) -> None:
        super().__init__(caps, jobs=1)
        self.passes: list[Detail] = []

    def __enter__(self) -> Counting:
        return self

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        self.passes.append(detail)
        return super().decode(data, media_type, detail)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detector]:
    folder = tmp_path_factory.mktemp("clip")
    (folder / "concepts.toml").write_text(stand_in.concepts())
    settings = ClipSettings(
        model=stand_in.MODEL_NAME,
        model_dir=str(stand_in.MODEL.parent),
        concepts=str(folder / "concepts.toml"),
        precision="fp32",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder))
        (detector,) = opened("clip", clip=settings)
    yield detector
    cast("Any", detector).close()


@pytest.fixture(scope="module")
def embedded() -> Sequence[Detector]:
    return opened("embedded")


@pytest.fixture(scope="module")
def circles() -> Policy:
    return parse_policy(stand_in.POLICY, source="stand-in", name="stand-in")


@pytest.fixture(scope="module")
def faces() -> Policy:
    return parse_policy(FACES, source="stand-in", name="stand-in")


def bench(folder: Path, decoder: SandboxDecoder, detectors: Sequence[Detector], policy: Policy) -> Bench:
    """Return a pass with real parts."""
    return Bench(
        folder / "ledger.db", FakeStore(), policy, decoder=cast("Any", decoder), detectors=cast("Any", detectors)
    )


def put(made: Bench, key: str, image: Image.Image, form: str = "PNG", **options: Any) -> None:
    target = BytesIO()
    image.save(target, form, **options)
    cast("FakeStore", made.store).put(key, target.getvalue())


def strip(height: int, top: int, *, turned: bool = False) -> Image.Image:
    """Draw a long page with blue squares at its corners and a red circle somewhere."""
    image = page(height)
    ImageDraw.Draw(image).ellipse((200, top, 800, top + 600), fill=RED)
    return image.transpose(Image.Transpose.ROTATE_90) if turned else image


def page(height: int) -> Image.Image:
    """Draw a long page without a red circle."""
    image = Image.new("RGB", (1000, height), WHITE)
    pen = ImageDraw.Draw(image)
    for x in (0, 700):
        for y in (0, height - 300):
            pen.rectangle((x, y, x + 299, y + 299), fill=shapes.COLOURS["blue"])
    return image


@pytest.mark.long
def test_what_a_long_picture_hides_is_found(tmp_path: Path, clip: Detector, circles: Policy) -> None:
    """By its tile, which the reason names. The whole shows nothing of it."""
    with Counting() as decoder:
        made = bench(tmp_path, decoder, [clip], circles)
        put(made, "down", strip(20_000, 13_000), compress_level=1)
        put(made, "across", strip(20_000, 4_000, turned=True), "JPEG")
        put(made, "comic", strip(4000, 2500))
        put(made, "none", page(20_000), compress_level=1)
        tally, _ = made.scan(dry_run=True)
        assert (tally.judged, tally.block) == (4, 3)
        for key, edges in (("down", (0, 65, 100, 68)), ("across", (20, 0, 23, 100)), ("comic", (0, 62, 100, 78))):
            (hit,) = made.row(key).reasons
            for factor in hit.factors:
                assert factor.where.startswith("tile "), (key, factor)
                assert covers(factor.where, edges), (key, factor.where)
        shown = made.ledger.show("down")
        assert shown is not None
        assert shown.total == 13
        assert shown.frames is not None
        assert 1 < shown.frames < 13, "tiles that show nothing are nearly equal"
        made.close()


def covers(where: str, edges: tuple[int, int, int, int]) -> bool:
    """Whether a tile's words name a place that has a part of these edges: a long side in percent, the other whole."""
    across, down = where.partition(", ")[2].replace(" %", "").split(" x ")
    long = down if across == "0-100" else across
    low, high = map(int, long.split("-"))
    wanted = (edges[1], edges[3]) if across == "0-100" else (edges[0], edges[2])
    return low < wanted[1] and wanted[0] < high


@pytest.mark.long
def test_without_tiles_it_stays_hidden(tmp_path: Path, clip: Detector, circles: Policy) -> None:
    """What shows that it is the tiles that find it."""
    with Counting(Caps(tiles=0, more_tiles=0)) as decoder:
        made = bench(tmp_path, decoder, [clip], circles)
        put(made, "down", strip(20_000, 13_000), compress_level=1)
        tally, _ = made.scan(dry_run=True)
        assert (tally.clear, tally.frames) == (1, 1)
        made.close()


def upside_down_face() -> Image.Image:
    """Return a face that NudeNet finds with 0.66, turned by 180 degrees, where it has 0.41."""
    frame = grey_faces(100, 100)[43]
    image = Image.frombytes("RGB", (frame.width, frame.height), frame.rgb)
    return image.resize((300, 300), Image.Resampling.BICUBIC).transpose(Image.Transpose.ROTATE_180)


@pytest.mark.long
def test_a_turned_face_is_found_at_a_second_look(tmp_path: Path, embedded: Sequence[Detector], faces: Policy) -> None:
    """The first pass comes near to the rule; the second one turns the picture."""
    with Counting() as decoder:
        made = bench(tmp_path, decoder, embedded, faces)
        put(made, "face", upside_down_face())
        tally, _ = made.scan(dry_run=True)
        assert decoder.passes == [Detail.COARSE, Detail.FINE]
        assert tally.block == 1
        (hit,) = made.row("face").reasons
        assert [factor.where for factor in hit.factors] == ["turned by 180°"]
        made.close()
    with Counting(Caps(more_tiles=0)) as decoder:
        (tmp_path / "other").mkdir()
        made = bench(tmp_path / "other", decoder, embedded, faces)
        put(made, "face", upside_down_face())
        tally, _ = made.scan(dry_run=True)
        assert (decoder.passes, tally.clear) == ([Detail.COARSE], 1)
        made.close()


def test_a_face_within_wide_borders_is_found_at_a_first_look(
    tmp_path: Path, embedded: Sequence[Detector], faces: Policy
) -> None:
    """Of a small picture in a large even one a detector sees a few pixels."""
    page = Image.new("RGB", (1800, 1800), "white")
    page.paste(picture("astronaut", 400), (300, 1100))
    with Counting() as decoder:
        made = bench(tmp_path, decoder, embedded, faces)
        put(made, "page", page)
        tally, _ = made.scan(dry_run=True)
        assert (decoder.passes, tally.block) == ([Detail.COARSE], 1)
        (hit,) = made.row("page").reasons
        assert [factor.where for factor in hit.factors] == ["without its border"]
        made.close()


def test_ages_are_not_told_of_turned_frames(embedded: Sequence[Detector]) -> None:
    """Turned the wrong way, every second adult would be a minor; the same frame as it is has its age."""
    nudenet, age = (next(d for d in embedded if d.name == name) for name in ("nudenet", "age"))
    image = picture("astronaut", 512).crop((130, 0, 330, 200)).resize((600, 600))
    image = image.transpose(Image.Transpose.ROTATE_90)
    frames = [Frame(0, 600, 600, image.tobytes(), place) for place in (Place(), Place(turned=270))]
    found = [Evidence(frame, nudenet.score([Evidence(frame)])[0].boxes) for frame in frames]
    assert all(evidence.boxes for evidence in found)
    as_it_is, turned = age.score(found)
    assert as_it_is.signals["face.young"] > 0
    assert set(turned.signals.values()) == {0.0}


@pytest.mark.long
def test_one_decoding_serves_every_detector(tmp_path: Path, embedded: Sequence[Detector], clip: Detector) -> None:
    """Every object is decoded once, however many detectors look at it; twice only for a second pass."""
    rules = stand_in.POLICY + FACES.replace("[factors]\n", "").replace("[[rules]]", "", 0)
    policy = parse_policy(merged(rules), source="stand-in", name="stand-in")
    with Counting() as decoder:
        made = bench(tmp_path, decoder, [*embedded, clip], policy)
        store = cast("FakeStore", made.store)
        for name in ("china", "coffee", "rocket", "flower"):
            store.put(name, jpeg_bytes(name))
        store.put("astronaut", jpeg_bytes("astronaut"))
        store.put("again", jpeg_bytes("astronaut"))
        tally, _ = made.scan(dry_run=True)
        assert tally.judged == 6
        assert decoder.passes.count(Detail.COARSE) == 5, "the same bytes under another name are not decoded again"
        assert decoder.passes.count(Detail.FINE) <= 1
        assert made.row("astronaut").verdict is Verdict.BLOCK
        shown = made.ledger.show("china")
        assert shown is not None
        assert {"open_nsfw", "nudenet", "clip"} <= set(shown.detectors)
        made.close()


def merged(text: str) -> str:
    """Put the factors of both stand-in policies into one table."""
    lines = [line for line in text.splitlines() if line != "[factors]"]
    factors = [line for line in lines if line.endswith('"]')]
    return "\n".join(["[factors]", *factors, *(line for line in lines if line not in factors)])
