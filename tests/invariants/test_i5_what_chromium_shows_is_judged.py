"""I5: what Chromium shows of a file is among the frames that are judged; where it is not, the reason is known.

Every file that the tests can make goes through the browser and the decoder. `EXPLAINED` lists all differences: whoever
adds one says why it is none that hides something, and an explanation that explains nothing any more fails.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pytest
from PIL import Image

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import Decoded
from fedi_safety.media import Caps, SandboxDecoder, sniff
from fuzz.corpus import corpus
from fuzz.mutate import Mutator
from support.corpus import media_zoo, shown_anyway
from support.corpus.photos import to_frame
from support.corpus.zoo import many_in_one, moving_things, stills
from support.corpus.zoo.subject import Item, ground, subject
from support.hostile.bombs import BOMBS
from support.seen import Apart, Shown
from support.servers.chromium import Seen, chromium
from support.share import Share

CAPS = Caps(frames=64, max_seconds=10)  # so many that no animation is sampled: which frames are is another question
SPOILED = 200  # files
SPOILED_KINDS = {MediaType.JPEG, MediaType.PNG, MediaType.GIF, MediaType.WEBP, MediaType.BMP}
LITTLE = 0.1  # of a picture: a damaged one of which no more is shown may have a reason instead of a verdict

# In the names of bombs that take seconds to make or to show.
DEAR = ("0 megapixels", "134 mega", "81 mega", "0 MB", "million", "large", "4 GiB", "hours", "many", "600,000", "runs")
DAMAGE = {Reason.CORRUPT, Reason.TRUNCATED}

File = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Explained:
    """Why what is shown of files of this name is not among the frames, and what is said of it instead.

    `said` is `unscanned`, `in part`, or `all`; with `all` the pictures are the same, but for colours that are apart by
    no more than `within`.
    """

    group: str
    said: str
    why: str
    within: tuple[float, float] = (255, 255)


IN_PART = "what it uses beyond what is drawn is said"
PASSES = "of an interlaced picture whole passes are judged, and a browser shows rows of the next one as well"
EXPLAINED = {
    "AVIF, frame * of *": Explained(
        "animations",
        "all",
        "Chromium takes the colours of AVIF that moves for narrow ones, whatever its header says",
        (12, 20),
    ),
    "avif animated, the first frame": Explained("samples", "all", "as above", (12, 20)),
    "GIF, cut at *": Explained("damaged", "in part", PASSES, (1, 90)),
    "image/gif cut at 97 %": Explained("samples", "in part", PASSES, (9, 60)),
    "GIF, garbled": Explained("damaged", "in part", PASSES, (1, 90)),
    "PNG, interlaced True, the last 85 %": Explained("shown anyway", "in part", PASSES, (5, 90)),
    "SVG, translate": Explained("shown anyway", "in part", IN_PART),
    "SVG, percent of itself": Explained("shown anyway", "in part", IN_PART),
}


def _of_zoo(*makers: Callable[[], Iterator[Item]]) -> Iterator[File]:
    for maker in makers:
        for item in maker():
            yield item.name, item.data


def _odd() -> Iterator[File]:
    for odd in shown_anyway.all_of_them():
        yield odd.name, odd.data


def _samples() -> Iterator[File]:
    for sample in (*media_zoo.good(), *media_zoo.bad(), *media_zoo.cut()):
        yield sample.name, sample.data


def _bombs() -> Iterator[File]:
    """Yield those that are quickly made, and that a browser can be asked to show."""
    for bomb in BOMBS:
        if not any(word in bomb.name for word in DEAR):
            yield bomb.name, bomb.make()


GROUPS: dict[str, tuple[Callable[[], Iterator[File]], int]] = {
    "stills": (lambda: _of_zoo(stills.stills), 90),
    "animations": (lambda: _of_zoo(moving_things.animations), 80),
    "clips": (lambda: _of_zoo(moving_things.clips, moving_things.odd_clips), 120),
    "pages and hiding places": (lambda: _of_zoo(many_in_one.pages, many_in_one.hiding_places), 20),
    "damaged": (lambda: _of_zoo(moving_things.damaged), 15),
    "shown anyway": (_odd, 150),
    "samples": (_samples, 80),
    "bombs": (_bombs, 4),
}
"""Files, and of how many of them Chromium shows something at the least."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A file: what Chromium shows of it, and what was judged of it or why nothing was."""

    name: str
    shown: list[Shown]
    decoded: Decoded | None
    reason: Reason | None = None

    @property
    def said(self) -> str:
        """How much of it is said to be judged."""
        if self.decoded is None:
            return "unscanned"
        return "all" if self.decoded.partly is None else "in part"

    def missed(self) -> Iterator[tuple[str, Apart]]:
        """Yield which of the pictures shown is no frame, and how far the nearest one is apart."""
        frames = self.decoded.frames if self.decoded is not None else ()
        for shown in self.shown:
            if not (apart := shown.nearest(frames)).within():
                yield shown.how, apart


def _looked(decoder: SandboxDecoder, name: str, data: bytes, shown: list[Seen]) -> Looked:
    something = [one for one in map(Shown, shown) if one.something]
    try:
        return Looked(name, something, decoder.decode(data, decoder.sniff(data[:4096])))
    except Unscannable as refusal:
        return Looked(name, something, None, refusal.reason)


def _type(decoder: SandboxDecoder, data: bytes) -> tuple[str, ...]:
    """Return as what a server would send a file: by its content, or as either of both where that tells nothing."""
    try:
        return (decoder.sniff(data[:4096]).value,)
    except Unscannable:
        return ("image/png", "video/mp4")


def _all_looked(files: Iterable[File]) -> Iterator[Looked]:
    with SandboxDecoder(CAPS, jobs=1) as decoder, chromium() as browser:
        known = list(files)
        asked = [(number, data, kind) for number, (_, data) in enumerate(known) for kind in _type(decoder, data)]
        shown: list[list[Seen]] = [[] for _ in known]
        for (number, _, _), found in zip(asked, browser.show([(data, kind) for _, data, kind in asked]), strict=True):
            shown[number] += found
        for (name, data), found in zip(known, shown, strict=True):
            yield _looked(decoder, name, data, found)


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("group", GROUPS)
def test_what_chromium_shows_is_judged(group: str) -> None:
    """What is shown is a frame, or its explanation holds: by name, by what is said, by how far the nearest one is."""
    files, least = GROUPS[group]
    used: set[str] = set()
    unexplained: list[str] = []
    shown = 0
    for one in _all_looked(files()):
        shown += bool(one.shown)
        for how, apart in one.missed():
            known = next((name for name in EXPLAINED if fnmatchcase(one.name, name)), None)
            if known is None or EXPLAINED[known].said != one.said or not apart.within(*EXPLAINED[known].within):
                unexplained.append(f"{one.name}, {how}: {one.said}, {one.reason or apart}")
            else:
                used.add(known)
    assert not unexplained
    assert used == {name for name, why in EXPLAINED.items() if why.group == group}
    assert shown >= least


def _kind(data: bytes) -> MediaType | None:
    try:
        return sniff(data[:4096])
    except Unscannable:
        return None


@pytest.mark.needs("chromium")
def test_no_spoiled_picture_passes_unseen(share: Share) -> None:
    """What Chromium shows of files spoiled at random is a frame, or it is said that there is more than was judged."""
    mutator = Mutator([seed for seed in corpus() if _kind(seed.data) in SPOILED_KINDS])
    inputs = [mutator.input(share.seed, number) for number in range(SPOILED)]
    names = [f"{number}, {spoiled.origin}: {' '.join(spoiled.steps)}" for number, spoiled in enumerate(inputs)]
    shown = 0
    unseen: list[str] = []
    for one in _all_looked(zip(names, (spoiled.data for spoiled in inputs), strict=True)):
        shown += bool(one.shown)
        most = max((picture.share for picture in one.shown), default=0)
        for how, apart in one.missed():
            if one.said == "all" or (one.said == "unscanned" and one.reason in DAMAGE and most > LITTLE):
                unseen.append(f"{one.name}, {how}: {one.said}, {one.reason or apart}")
    assert not unseen
    assert shown > SPOILED // 10


def _seen(image: Image.Image, how: str = "img") -> Seen:
    return Seen(how, *image.size, *image.size, image.convert("RGBA").tobytes())


def test_another_picture_is_told_from_the_one_that_is_judged() -> None:
    """The comparison itself: the same picture and its shown part pass; another, a moved or a turned one does not."""
    frames = [to_frame(subject())]
    part = subject().convert("RGBA")
    part.paste((0, 0, 0, 0), (0, 40, *part.size))
    for same in (subject(), subject().resize((48, 32)), part):
        assert Shown(_seen(same)).nearest(frames).within()
    for other in (ground(), subject(9), subject().rotate(180), subject().transpose(Image.Transpose.ROTATE_90)):
        assert not Shown(_seen(other)).nearest(frames).within()
    assert not Shown(_seen(subject())).nearest([]).within()
    assert not Shown(_seen(Image.new("RGBA", (96, 64)))).something
    assert not Shown(_seen(Image.new("RGB", (96, 64), (170, 170, 170)))).something
    assert Shown(_seen(ground())).something


@pytest.mark.needs("chromium")
def test_the_browser_reaches_nothing_but_what_it_is_asked_to_show() -> None:
    """Not even another loopback address on which somebody listens."""
    with chromium() as browser, socket.create_server(("127.0.0.2", 0)) as listening:
        with pytest.raises(Exception, match="ERR_NAME_NOT_RESOLVED"):
            browser.page.goto(f"http://127.0.0.2:{listening.getsockname()[1]}/")
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
