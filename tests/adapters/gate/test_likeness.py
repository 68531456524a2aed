"""Waiting uploads whose server wrote them anew: which of its pictures is one of them, and when nobody can tell."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from fedi_safety.core.enums import ActKind, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.errors import StoreError, Unscannable
from fedi_safety.core.ledger.uploads import (
    NOT_DECODED,
    NOT_HASHED,
    OTHERWISE,
    SEVERAL,
    TOO_LITTLE,
    UNDECIDED,
    UNTOLD,
    BacklogEntry,
    Likeness,
    Move,
    Stored,
    Told,
    UploadNote,
    UploadState,
)
from fedi_safety.core.types import (
    Content,
    Decoded,
    Frame,
    Hashes,
    Judged,
    Judgement,
    Object,
    Outcome,
    PictureHash,
    Scores,
)
from fedi_safety.gate.backlog import likeness as made
from fedi_safety.gate.backlog.likeness import Likenesses, alike, likeness_of, moves, place_of, settled
from fedi_safety.ledger.ledger import SqlLedger
from fedi_safety.reports.facts import gate_rows
from support.corpus.photos import picture, to_frame
from support.fakes import FakeClock, FakeDecoder
from support.judged_before import flipped, pdq, sha
from support.ledgers import Opener

STORE = "file:///media"
AT = FakeClock().now()
OWN = pdq()
WIDE = Likeness(OWN, 1600, 1200)
PLACE = "media_attachments/files/109/876/543/original/0a1b.jpg"


def entry(told: Likeness | None = WIDE, state: UploadState = UploadState.OWED, at: float = AT) -> BacklogEntry:
    note = UploadNote("u1", at, "m", state, "deadline", "gate", sha("came"), 9, told=Told("192.0.2.7", likeness=told))
    return BacklogEntry(1, note, 0, None, None)


def stored(
    key: str = PLACE, verdict: Verdict | None = Verdict.CLEAR, *, bits: int = 8, at: float = AT + 5, **more: object
) -> Stored:
    shown = (PictureHash(0, 90, flipped(OWN, bits)),)
    one = Stored(key, at, sha(key), 1280, 960, verdict, shown)
    return replace(one, **more)  # type: ignore[arg-type]


SMALL = stored(PLACE.replace("original", "small"), width=400, height=300)


@pytest.mark.parametrize(
    ("there", "move"),
    [
        ([stored()], (UploadState.SETTLED, "clear", PLACE)),
        ([stored(), SMALL], (UploadState.SETTLED, "clear", PLACE)),
        ([stored(verdict=Verdict.REVIEW)], (UploadState.SETTLED, "review", PLACE)),
        ([stored(verdict=Verdict.BLOCK)], (UploadState.CONDEMNED, "block", PLACE)),
        ([stored(), replace(SMALL, verdict=Verdict.BLOCK)], (UploadState.CONDEMNED, "block", SMALL.key)),
        ([stored(verdict=Verdict.BLOCK, outcome="removed")], (UploadState.SETTLED, "removed", PLACE)),
        (
            [stored(verdict=Verdict.BLOCK, outcome="removed"), replace(SMALL, verdict=Verdict.BLOCK)],
            (UploadState.CONDEMNED, "block", PLACE),
        ),
    ],
)
def test_one_picture_that_looks_like_it_settles_it(there: list[Stored], move: tuple[UploadState, str, str]) -> None:
    found = settled(entry(), there)
    assert found is not None
    state, outcome, key = move
    assert (found.state, found.outcome, found.sha256) == (state, outcome, sha(key))


@pytest.mark.parametrize(
    "other",
    [
        stored(bits=32),
        stored(at=AT - 61),
        stored(at=AT + 3601),
        stored(width=960, height=960),
        stored(width=3200, height=2400),
        stored(pictures=(PictureHash(0, 49, OWN),)),
        stored(pictures=(PictureHash(~2, 90, OWN),)),
        stored(pictures=()),
    ],
)
def test_what_is_another_picture_or_of_another_time_or_shape_settles_nothing(other: Stored) -> None:
    assert settled(entry(), [other]) is None
    assert settled(entry(), [other, stored()]) == settled(entry(), [stored()])


@pytest.mark.parametrize(
    ("there", "state", "why"),
    [
        ([stored(), stored("media_attachments/files/1/original/b.jpg")], UploadState.OWED, SEVERAL),
        ([stored(), stored("cache/" + PLACE)], UploadState.OWED, SEVERAL),
        ([stored(verdict=None)], UploadState.OWED, UNDECIDED),
        ([stored(), replace(SMALL, verdict=None)], UploadState.OWED, UNDECIDED),
        ([stored()], UploadState.CONDEMNED, OTHERWISE),
    ],
)
def test_what_cannot_be_told_is_said_and_stays_open(there: list[Stored], state: UploadState, why: str) -> None:
    found = settled(entry(state=state), there)
    assert found is not None and found.likeness is not None
    assert (found.state, found.sha256, found.likeness.why, found.likeness.pdq) == (None, None, why, OWN)


@pytest.mark.parametrize("without", [None, Likeness(why=TOO_LITTLE), Likeness(why=NOT_HASHED)])
def test_without_a_hash_nothing_is_looked_for(without: Likeness | None) -> None:
    assert settled(entry(without), [stored()]) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a/original/x.jpg", "a/small/x.webp", True),
        ("m/_v2/1/h-1/u/x.jpg", "m/_v2/1/h-1/u/x_thumb.jpg", True),
        ("posts/ab/cd/x.png", "posts/ab/cd/x_thumbnail.webp", True),
        ("01ACC/attachment/original/01ID.jpeg", "01ACC/attachment/small/01ID.jpeg", True),
        ("a/original/x.jpg", "b/small/x.jpg", False),
        ("a/original/x.jpg", "a/original/y.jpg", False),
    ],
)
def test_the_sizes_of_one_picture_have_one_place(one: str, other: str, same: bool) -> None:
    assert (place_of(one) == place_of(other)) is same


# --- hashing


class Photographs(FakeDecoder):
    """Decodes what the corpus has by the name that is the data."""

    def decode(self, data: bytes, media_type: MediaType, *_: object) -> Decoded:
        name = data.decode()
        if name == "pic broken":
            raise Unscannable(Reason.CORRUPT)
        if name == "pic blank":
            blank = Frame(0, 32, 32, bytes(3 * 32 * 32))
            return Decoded(media_type, 32, 32, (blank,))
        shown = to_frame(picture(name.removeprefix("pic ")))
        return Decoded(media_type, shown.width, shown.height, (shown,))


def test_a_photograph_written_anew_is_alike_and_another_is_not() -> None:
    import io

    import numpy as np
    from PIL import Image

    from fedi_safety.detectors.known.pdq import upright

    known = likeness_of(Photographs(), b"pic coffee")
    assert known.pdq is not None and not known.why

    def anew(name: str, scale: float) -> Stored:
        source = picture(name)
        out = io.BytesIO()
        size = round(source.width * scale), round(source.height * scale)
        source.resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=80)
        with Image.open(out) as again:
            rgb = np.asarray(again.convert("RGB"))
        bits, quality = upright(rgb.tobytes(), *size)
        key = f"{name}/{scale}/x.jpg"
        return Stored(key, AT, sha(key), *size, Verdict.CLEAR, (PictureHash(0, quality, bits.tobytes()),))

    assert len(alike(known, [anew("coffee", 1.0), anew("coffee", 0.75), anew("coffee", 0.4)])) == 3
    assert alike(known, [anew(name, 0.75) for name in ("astronaut", "chelsea", "china", "flower", "rocket")]) == []


@pytest.mark.parametrize(("data", "why"), [(b"pic broken", NOT_DECODED), (b"no media", NOT_DECODED),
                                           (b"pic blank", TOO_LITTLE)])  # fmt: skip
def test_what_has_no_likeness_says_why(data: bytes, why: str) -> None:
    assert likeness_of(Photographs(), data) == Likeness(why=why)


class Written:
    """Stands for the writer."""

    def __init__(self) -> None:
        self.moves: list[Move] = []

    def enqueue_moves(self, moves: list[Move]) -> None:
        self.moves += moves


def hashing(decoder: Callable[[], FakeDecoder]) -> tuple[Likenesses, Written]:
    written = Written()
    return Likenesses(decoder, written), written  # type: ignore[arg-type]


def test_uploads_are_hashed_and_their_memory_is_given_back() -> None:
    work, written = hashing(Photographs)
    done = threading.Event()
    work.begin([("u1", b"pic coffee"), ("u2", b"pic broken")], done.set)
    assert done.wait(20)
    work.close()
    assert [(m.upload, m.state, m.likeness and m.likeness.why) for m in written.moves] == [
        ("u1", None, ""), ("u2", None, NOT_DECODED)
    ]  # fmt: skip


def test_a_decoder_that_fails_or_too_many_cost_a_likeness_and_no_memory(caplog: pytest.LogCaptureFixture) -> None:
    held = threading.Event()

    def none() -> FakeDecoder:
        held.wait(20)
        raise StoreError("decoder", "cannot be started")

    work, written = hashing(none)
    back: list[int] = []
    for n in range(made._MOST + 5):
        work.begin([(f"u{n}", b"pic coffee")], partial(back.append, n))
    assert back == list(range(made._MOST, made._MOST + 5))
    held.set()
    work._thread.shutdown()
    assert sorted(back) == list(range(made._MOST + 5)) and written.moves == []
    assert "found again by its bytes alone" in caplog.text
    work.begin([("late", b"pic coffee")], lambda: back.append(-1))
    assert back[-1] == -1


# --- in the ledger


@pytest.fixture
def ledger(opener: Opener) -> SqlLedger:
    return opener(clock=FakeClock(AT))


def judged(key: str, verdict: Verdict, bits: int = 8, at: float = AT + 5) -> Judged:
    hashes = Hashes(bytes(20), bytes(16), (PictureHash(0, 90, flipped(OWN, bits)),))
    content = Content(sha(key), 9, MediaType.JPEG, 1280, 960, 1, Scores({}, {"a": "1"}), hashes=hashes)
    return Judged(Object(key, 9, int(at * 1e9)), content, Judgement(verdict, (), (), "p@1"))


def owe(ledger: SqlLedger, told: Likeness | None = None) -> None:
    note = entry(Likeness(why=NOT_HASHED)).note
    run = ledger.begin_run("gate", "", {})
    ledger.record_uploads(run, [], [note])
    if told is not None:
        ledger.record_uploads(run, [], [], [Move("u1", likeness=told)])


def find(ledger: SqlLedger) -> list[Move]:
    found = moves(ledger, STORE, ledger.untried_entries(UploadState.OWED, 9), AT + 120)
    ledger.record_uploads(ledger.begin_run("gate", "", {}), [], [], found)
    return found


def test_an_upload_is_settled_by_what_its_server_made_of_it_and_shown_by_either(ledger: SqlLedger) -> None:
    scan = ledger.begin_run("scan", STORE, {"whole": True})
    ledger.record(scan, STORE, [judged("an/older.jpg", Verdict.BLOCK)])  # alike, and there before it came
    owe(ledger, WIDE)
    assert ledger.upload_figures(AT).unlike == {}
    assert find(ledger) == []
    ledger.record(scan, STORE, [judged(PLACE, Verdict.BLOCK), judged("x/other.jpg", Verdict.CLEAR, 40)])
    assert [move.state for move in find(ledger)] == [UploadState.CONDEMNED]
    (known,) = ledger.untried_entries(UploadState.CONDEMNED, 9)
    assert (known.note.sha256, known.note.told.came_as, known.note.told.address) == (
        sha(PLACE), sha("came"), "192.0.2.7"
    )  # fmt: skip
    for asked in (sha("came"), PLACE):
        shown = ledger.show(asked)
        assert shown is not None
        (upload,) = shown.uploads
        assert (upload["told"]["came_as"], upload["told"]["became"]) == (sha("came").hex(), sha(PLACE).hex())
    plans = ledger.plan(scan, STORE, [(judged(PLACE, Verdict.BLOCK).object, sha(PLACE))], ActKind.DELETE)
    ledger.close(scan, [Outcome(plan, PlanState.DONE) for plan in ledger.start(scan, plans)])
    assert ledger.upload_figures(AT).settled == {"removed": 1}


def test_what_was_removed_before_it_was_compared_ends_as_removed(ledger: SqlLedger) -> None:
    owe(ledger, WIDE)
    scan = ledger.begin_run("scan", STORE, {"whole": True})
    one = judged(PLACE, Verdict.BLOCK)
    ledger.record(scan, STORE, [one])
    plans = ledger.plan(scan, STORE, [(one.object, sha(PLACE))], ActKind.DELETE)
    ledger.close(scan, [Outcome(plan, PlanState.DONE) for plan in ledger.start(scan, plans)])
    find(ledger)
    assert ledger.upload_figures(AT).settled == {"removed": 1}


@pytest.mark.parametrize("told", [None, Likeness(why=TOO_LITTLE), WIDE])
def test_what_nobody_can_tell_ends_as_such_and_is_counted_until_then(opener: Opener, told: Likeness | None) -> None:
    clock = FakeClock(AT)
    ledger = opener(clock=clock)
    owe(ledger, told)
    scan = ledger.begin_run("scan", STORE, {"whole": True})
    if told == WIDE:
        ledger.record(scan, STORE, [judged(PLACE, Verdict.CLEAR), judged("y.jpg", Verdict.CLEAR)])
        find(ledger)
    why = {None: NOT_HASHED, WIDE: SEVERAL}.get(told, TOO_LITTLE)
    figures = ledger.upload_figures(AT)
    assert (figures.unlike, figures.owed.total()) == ({why: 1}, 1)
    assert (f"  {why}", 1, "") in gate_rows(figures, AT)
    clock.advance(600)
    whole = ledger.begin_run("scan", STORE, {"whole": True, "dry_run": False})
    ledger.end_run(whole, "done", {})
    ledger.tend_uploads(STORE, "x", 60.0)
    figures = ledger.upload_figures(clock.now())
    assert (figures.settled, figures.unlike) == ({UNTOLD: 1}, {})


def test_what_is_nowhere_in_the_store_is_not_found(opener: Opener) -> None:
    clock = FakeClock(AT)
    ledger = opener(clock=clock)
    owe(ledger, WIDE)
    clock.advance(600)
    ledger.end_run(ledger.begin_run("scan", STORE, {"whole": True, "dry_run": False}), "done", {})
    assert find(ledger) == []
    ledger.tend_uploads(STORE, "x", 60.0)
    assert ledger.upload_figures(clock.now()).settled == {"not found": 1}


def test_a_young_upload_waits_until_all_of_its_sizes_were_met(ledger: SqlLedger) -> None:
    owe(ledger, WIDE)
    ledger.record(ledger.begin_run("scan", STORE, {}), STORE, [judged(PLACE, Verdict.CLEAR)])
    assert moves(ledger, STORE, ledger.untried_entries(UploadState.OWED, 9), AT + 59) == []
    assert len(moves(ledger, STORE, ledger.untried_entries(UploadState.OWED, 9), AT + 61)) == 1
