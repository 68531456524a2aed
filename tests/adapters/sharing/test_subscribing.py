"""What a subscriber believes: publishers as far as they agree, nobody alone, and of a log only that it goes on."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.app.known.lists import describe, drop, find_list
from fedi_safety.app.sharing.figures import publisher_figures
from fedi_safety.app.sharing.subscribing import Brought, fetch, leave, open_publishers, settled, standings
from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import KnownError, KnownUsageError, SharingError
from fedi_safety.core.known.types import Effect, HashKind, KnownList
from fedi_safety.core.known.types import Entry as Listed
from fedi_safety.sharing.change import Kind, Word, canonical, link_of, read_object
from fedi_safety.sharing.minisign import SecretKey
from fedi_safety.sharing.signed import Statement, What, signed_head
from fedi_safety.watch import lists as watched
from fedi_safety.watch.lists import ListWatch
from support.fakes import TickingClock
from support.judged_before import flipped, md5, pdq, sha
from support.shared import Published, Subscriber, more

AT = 1_800_000_000.0
DAY = 24.0
CLEAR, REVIEW, BLOCK = ((verdict, True) for verdict in (Verdict.CLEAR, Verdict.REVIEW, Verdict.BLOCK))


class Three:
    """A subscriber, and two publishers that it may believe."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, [AT]
        self.me = Subscriber(folder / "me", self.clock)
        self.one = Published(folder / "one", "one.example", self.clock)
        self.two = Published(folder / "two", "two.example", self.clock)

    def refused(self, of: Published, match: str) -> None:
        """It is refused with these words; all is as it was, and the words are kept."""
        before = self.state()
        with pytest.raises(SharingError, match=match) as told:
            self.me.fetch(of)
        assert "\n" not in told.value.line() and told.value.remedy
        assert self.state() == before
        assert open_publishers(self.me.settings).get(of.name).failure == told.value.cause

    def state(self) -> object:
        """Everything that a publisher can change here."""
        known = [(each.key, each.seq, each.link) for each in open_publishers(self.me.settings).all()]
        lists = {each.name: (each, self.me.listed(each.name)) for each in self.me.catalog.lists()}
        return known, lists, self.me.planned()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Three]:
    made = Three(tmp_path)
    yield made
    made.me.end()


@pytest.mark.long
def test_a_watch_says_what_publishers_bring_what_is_held_and_what_is_planned(
    three: Three, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    me, one, two = three.me, three.one, three.two
    picture, cat = pdq(), pdq()
    me.judged("copy", [flipped(picture, 9)])
    me.judged("cat", [cat])
    me.ledger.dismiss(sha("cat"), "a cat")
    for publisher in (one, two):
        publisher.lists(pdq())
        me.subscribe(publisher)
        publisher.lists(more(picture, 2) if publisher is two else picture)
    two.lists(cat)
    servers = {each.name: each for each in (one, two)}

    def read_on(*given: Any, **_: object) -> Brought:
        return fetch(*given, now=me.now, server=servers[given[-1]].server())

    monkeypatch.setattr(watched, "read_on", read_on)
    clock = TickingClock(AT + 7200)
    three.clock[0] = AT + 7200
    for publisher in (one, two):
        publisher.lists()
    caplog.set_level("INFO")
    ListWatch(me.settings, me.ledger, clock).step()
    said = [record.getMessage() for record in caplog.records if record.name == "fedi_safety.watch.lists"]
    assert "publisher one.example: 1 new, 0 renewed, 0 retracted; 2 in force, of which 2 wait" in said
    assert any(each.startswith("publisher two.example: 2 new") for each in said)
    assert any("two.example: held: 1 (" in each and "a person dismissed" in each for each in said), said
    assert "list two.example: planned for 1 objects" in said
    assert me.planned() == ["copy"]
    figures = {each.name: each for each in publisher_figures(me.settings)}
    assert (figures["two.example"].held, figures["one.example"].waiting) == (1, 2)


# --- k of n


def test_one_publisher_sends_to_review_and_two_of_different_groups_condemn(three: Three) -> None:
    me, one, two = three.me, three.one, three.two
    picture, other = pdq(), pdq()
    me.judged("both", [flipped(picture, 5)])
    me.judged("one alone", [other])
    one.lists(picture, other)
    two.lists(more(picture, 12))
    assert me.subscribe(one).read.added == 2
    me.waits(DAY, one)
    assert (me.verdict("both"), me.verdict("one alone"), me.planned()) == (REVIEW, REVIEW, [])
    me.subscribe(two)
    assert (me.verdict("both"), me.planned()) == (BLOCK, ["both"])
    me.waits(DAY, one, two)
    assert (me.verdict("both"), me.verdict("one alone"), me.planned()) == (BLOCK, REVIEW, ["both"])
    reason = me.ledger.contents([sha("both")])[sha("both")][1].reasons[0].factors[0]
    assert {match.list for match in reason.matches} == {"one.example", "two.example"}
    me.whole()


@pytest.mark.long
def test_publishers_of_one_group_count_as_one(three: Three) -> None:
    me, one, two = three.me, three.one, three.two
    picture = pdq()
    me.judged("both", [picture])
    one.lists(picture)
    two.lists(picture)
    me.subscribe(one, group="friends")
    me.subscribe(two, group="friends")
    me.waits(DAY, one, two)
    assert (me.verdict("both"), me.planned()) == (REVIEW, [])
    open_publishers(me.settings).set_group(two.name, "others")
    me.fetch(two)
    assert (me.verdict("both"), me.planned()) == (BLOCK, ["both"])


@pytest.mark.long
def test_bytes_and_looks_of_one_picture_agree_and_two_frames_of_a_clip_do_not(three: Three) -> None:
    me, one, two = three.me, three.one, three.two
    picture, first, second = pdq(), pdq(), pdq()
    me.judged("picture", [picture])
    me.judged("clip", [first, second])
    one.lists(md5("picture"), kind="md5")
    one.lists(first)
    two.lists(picture, second)
    me.subscribe(one)
    me.subscribe(two)
    assert (me.verdict("picture"), me.verdict("clip")) == (BLOCK, CLEAR)
    me.waits(DAY, one, two)
    assert (me.verdict("picture"), me.verdict("clip")) == (BLOCK, REVIEW)


@pytest.mark.long
def test_a_harmless_entry_of_one_turns_block_into_review_and_never_into_clear(three: Three) -> None:
    me, one, two = three.me, three.one, three.two
    hostile = Published(three.folder / "hostile", "hostile.example", three.clock)
    picture, own = pdq(), pdq()
    me.judged("both", [picture])
    me.judged("trusted", [own])
    me.take(KnownList("imported"), Listed(HashKind.PDQ, own, "1"))
    one.lists(picture)
    two.lists(picture)
    hostile.lists(picture, own, verdict=Word.HARMLESS)
    for each in (one, two):
        me.subscribe(each)
    assert me.verdict("both") == BLOCK
    me.subscribe(hostile)
    assert (me.verdict("both"), me.planned()) == (REVIEW, ["trusted"])
    assert me.verdict("trusted") == BLOCK  # what the operator imported is nobody else's to weaken
    leave(me.settings, me.ledger, me.catalog, hostile.name)
    assert me.verdict("both") == BLOCK


@pytest.mark.long
def test_advisories_are_reviewed_and_agree_with_nobody(three: Three) -> None:
    me, one, two = three.me, three.one, three.two
    picture = pdq()
    me.judged("both", [picture])
    one.lists(picture, type=Kind.ADVISORY)
    two.lists(picture)
    me.subscribe(one)
    me.subscribe(two)
    me.waits(DAY, one, two)
    assert (me.verdict("both"), me.listed("one.example/advice")) == (REVIEW, {picture.hex()})


@pytest.mark.long
def test_the_agreement_of_one_is_enough_where_the_operator_says_so(tmp_path: Path) -> None:
    clock = [AT]
    me = Subscriber(tmp_path / "me", clock, agreeing=1)
    one = Published(tmp_path / "one", "one.example", clock)
    picture = pdq()
    me.judged("both", [picture])
    one.lists(picture)
    me.subscribe(one)
    assert me.verdict("both") == CLEAR
    me.waits(DAY, one)
    assert me.verdict("both") == BLOCK
    me.end()


@pytest.mark.long
def test_a_persons_no_stands_above_any_agreement(three: Three) -> None:
    me, one, two = three.me, three.one, three.two
    picture = pdq()
    me.judged("cat", [picture])
    one.lists(picture)
    two.lists(picture)
    me.subscribe(one)
    me.waits(DAY, one)
    me.ledger.dismiss(sha("cat"), "a cat")
    me.subscribe(two)
    me.waits(DAY, one, two)
    assert (me.verdict("cat"), me.planned()) == (CLEAR, [])


# --- waiting


@pytest.mark.long
def test_new_entries_wait_a_day_by_the_clock_here_unless_enough_agree(three: Three) -> None:
    me, one = three.me, three.one
    picture = pdq()
    me.judged("both", [picture])
    one.lists(picture)
    first = me.subscribe(one)
    assert (first.waits, me.listed("one.example/waiting"), me.listed("one.example")) == (1, {picture.hex()}, set())
    assert me.verdict("both") == CLEAR
    me.waits(DAY - 0.1, one)
    assert me.verdict("both") == CLEAR
    me.waits(0.1, one)
    assert (me.verdict("both"), me.listed("one.example")) == (REVIEW, {picture.hex()})


@pytest.mark.long
def test_an_entry_that_says_something_else_now_waits_anew(three: Three) -> None:
    me, one = three.me, three.one
    picture = pdq()
    me.judged("both", [picture])
    one.lists(picture, verdict=Word.HARMLESS)
    me.subscribe(one)
    me.waits(DAY, one)
    one.lists(picture)
    me.fetch(one)
    assert (me.listed("one.example/waiting"), me.listed("one.example")) == ({picture.hex()}, set())
    one.retracts(picture)
    one.lists(picture)
    me.waits(DAY - 1, one)
    assert me.listed("one.example") == set()


@pytest.mark.long
def test_waiting_is_over_although_the_publisher_has_vanished(three: Three) -> None:
    me, one = three.me, three.one
    picture = pdq()
    me.judged("both", [picture])
    one.lists(picture)
    me.subscribe(one)
    one.gone = True
    three.clock[0] += DAY * 3600
    with pytest.raises(KnownError, match=r"publisher one.example: it cannot be reached"):
        me.fetch(one)
    assert me.verdict("both") == REVIEW
    assert "cannot be reached" in open_publishers(me.settings).get(one.name).failure


# --- retracting, ending, leaving


def test_a_retraction_concerns_the_publishers_own_entries_alone(three: Three) -> None:
    me, one, two = three.me, three.one, three.two
    picture = pdq()
    me.judged("both", [picture])
    one.lists(picture)
    two.lists(picture)
    me.subscribe(one)
    me.subscribe(two)
    me.waits(DAY, one, two)
    two.retracts(picture)
    assert me.fetch(two).read.retracted == 1
    assert (me.listed("one.example"), me.listed("two.example")) == ({picture.hex()}, set())
    assert (me.verdict("both"), me.planned()) == (REVIEW, [])


@pytest.mark.long
def test_entries_end_after_two_years(three: Three) -> None:
    me, one = three.me, three.one
    picture = pdq()
    me.judged("both", [picture])
    one.lists(picture)
    me.subscribe(one)
    me.waits(DAY, one)
    me.waits(730 * DAY, one)
    assert (me.listed("one.example"), me.verdict("both")) == (set(), CLEAR)


@pytest.mark.long
def test_leaving_a_publisher_undoes_its_entries(three: Three) -> None:
    me, one, two = three.me, three.one, three.two
    picture = pdq()
    me.judged("both", [picture])
    one.lists(picture, pdq())
    two.lists(picture)
    me.subscribe(one)
    me.subscribe(two)
    me.waits(DAY, one, two)
    assert me.planned() == ["both"]
    entries, applied = leave(me.settings, me.ledger, me.catalog, one.name)
    assert (entries, applied.moves[("block", "review")]) == (2, 1)
    assert (me.verdict("both"), me.planned()) == (REVIEW, [])
    assert not any(each.name.startswith("one.example") for each in me.catalog.lists())
    leave(me.settings, me.ledger, me.catalog, two.name)
    assert me.verdict("both") == CLEAR
    assert standings(me.settings) == []
    me.subscribe(one)  # and may be subscribed to again
    me.whole()


@pytest.mark.long
def test_a_publishers_lists_are_nobody_elses_to_fill_or_to_pass_on(three: Three) -> None:
    me, one = three.me, three.one
    one.lists(pdq())
    me.subscribe(one)
    me.waits(DAY, one)
    with pytest.raises(KnownUsageError, match=r"list of the publisher one.example"):
        me.take(KnownList("one.example"), Listed(HashKind.PDQ, pdq(), "1"))
    with pytest.raises(KnownUsageError, match=r"hashes leave one.example"):
        drop(me.settings, me.ledger, me.catalog, "one.example")
    known = find_list(me.catalog, "one.example")
    assert known is not None and not known.redistribute
    with pytest.raises(KnownUsageError, match="list of the publisher"):
        describe(me.settings, me.ledger, me.catalog, KnownList("one.example", redistribute=True))
    described = KnownList("one.example", Effect.REVIEW, group=known.group, agreeing=known.agreeing)
    describe(me.settings, me.ledger, me.catalog, described)
    me.fetch(one)
    still = find_list(me.catalog, "one.example")
    assert still is not None and still.effect is Effect.REVIEW  # what was made milder stays so


# --- poison


@pytest.mark.long
def test_what_meets_many_clear_contents_is_held_shown_and_let_go_by_a_person(three: Three) -> None:
    me, one, two = three.me, three.one, three.two
    popular, rare = pdq(), pdq()
    for number in range(21):
        me.judged(f"meme {number}", [flipped(popular, number % 5)])
    for number in range(20):
        me.judged(f"rare {number}", [rare])
    one.lists(popular, rare)
    two.lists(popular)
    brought = me.subscribe(one)
    (held,) = brought.held
    assert held.why == "it meets more than 20 contents judged clear here"
    me.subscribe(two)
    me.waits(DAY, one, two)
    assert (me.verdict("meme 1"), me.verdict("rare 1"), me.planned()) == (CLEAR, REVIEW, [])
    assert me.listed("one.example") == {rare.hex()}
    (standing, _) = standings(me.settings, me.now)
    assert [each.hash for each in standing.held] == [popular.hex()]
    open_publishers(me.settings).release(one.name, held.entry)
    me.fetch(one)
    assert (me.listed("one.example"), me.verdict("meme 1")) == ({popular.hex(), rare.hex()}, REVIEW)


@pytest.mark.long
def test_it_is_looked_at_again_when_its_time_to_wait_is_over(three: Three) -> None:
    me, one = three.me, three.one
    popular = pdq()
    one.lists(popular)
    assert me.subscribe(one).held == ()
    for number in range(21):
        me.judged(f"meme {number}", [popular])
    me.waits(DAY, one)
    assert (me.listed("one.example"), me.verdict("meme 1")) == (set(), CLEAR)


@pytest.mark.long
def test_what_meets_something_that_was_dismissed_is_held_by_looks_and_by_bytes(three: Three) -> None:
    me, one = three.me, three.one
    picture = pdq()
    me.judged("cat", [picture])
    me.judged("hat", [pdq()])
    for key in ("cat", "hat"):
        me.ledger.dismiss(sha(key), "")
    one.lists(more(picture, 31), more(picture, 32))
    one.lists(md5("hat"), kind="md5")
    assert {each.why for each in me.subscribe(one).held} == {"it meets what a person dismissed here"}
    me.waits(DAY, one)
    assert me.listed("one.example") == {more(picture, 32).hex()}


@pytest.mark.long
def test_a_clip_is_held_for_what_three_of_its_frames_meet_and_no_single_frame_is(three: Three) -> None:
    me, one = three.me, three.one
    title, frames = pdq(), [pdq() for _ in range(3)]
    for number in range(21):
        me.judged(f"with the same title {number}", [title, pdq(), pdq()])
        me.judged(f"same {number}", frames)
    one.lists(title, pdq(), pdq(), clip="aa" * 32)
    one.lists(*frames, clip="bb" * 32)
    held = me.subscribe(one).held
    me.waits(DAY, one)
    assert len(held) == 3
    assert title.hex() in me.listed("one.example") and not {each.hex() for each in frames} & me.listed("one.example")


@pytest.mark.long
def test_a_picture_of_the_harmless_benchmark_is_held(three: Three) -> None:
    from skimage import data

    from fedi_safety.app.sharing.looking import harmless_pictures
    from fedi_safety.detectors.known.pdq import pdq as hashed

    known = harmless_pictures()
    assert len(known) % 32 == 0 and len(known) > 32 * 500
    bits, _ = hashed(data.astronaut())
    astronaut = int("".join("1" if bit else "0" for bit in bits), 2).to_bytes(32, "big")
    nearest = min((int.from_bytes(known[at : at + 32], "big") ^ int.from_bytes(astronaut, "big")).bit_count()
                  for at in range(0, len(known), 32))  # fmt: skip
    assert nearest <= 15
    me, one = three.me, three.one
    photograph = next(
        each for at in range(0, len(known), 32) if sum(map(int.bit_count, each := known[at : at + 32])) == 128
    )
    one.lists(more(photograph, 8), pdq())
    assert [each.why for each in me.subscribe(one).held] == ["it is near to a picture of the harmless benchmark"]


# --- a log that is not the one that is known


@pytest.mark.long
def test_a_replayed_head_is_refused(three: Three) -> None:
    me, one = three.me, three.one
    one.lists(pdq())
    old = one.copied(three.folder / "old")
    me.subscribe(one)
    one.lists(pdq())
    me.fetch(one)
    old.log.publish(old.wanted.values())
    three.refused(old, "its head is older than what was read: change 1, and 2 were read")


def test_a_second_history_is_refused_at_the_same_number_and_further_on(three: Three) -> None:
    me, one = three.me, three.one
    one.lists(pdq())
    fork = one.copied(three.folder / "fork")
    one.lists(pdq())
    me.subscribe(one)
    fork.lists(pdq())
    three.refused(fork, "it has a second history: change 2 is another than the one that was read")
    fork.lists(pdq())
    three.refused(fork, "it has a second history: change 2 is another")
    one.lists(pdq())
    assert me.fetch(one).read.added == 1


@pytest.mark.long
def test_a_broken_chain_is_refused_wherever_it_breaks(three: Three) -> None:
    me, one = three.me, three.one
    one.lists(pdq())
    me.subscribe(one)
    one.lists(pdq(), pdq(), pdq())

    def with_another(at: int, **values: object) -> bytes:
        lines = one.log.page(1, 4).split(b"\n")[:-1]
        lines[at] = canonical({**read_object(lines[at]), **values})
        return b"\n".join(lines) + b"\n"

    for _what, body, match in (
        ("another hash", with_another(1, hash="ab" * 32), "chain is broken"),
        ("another hash at the end", with_another(2, hash="ab" * 32), "chain is broken"),
        ("a number left out", with_another(1, seq=9), "chain is broken"),
        ("not canonical", with_another(0).replace(b'":', b'": ', 1), "not in canonical form"),
        ("too short", b"\n".join(with_another(0).split(b"\n")[:2]) + b"\n", "shorter than it should be"),
        ("cut off", with_another(0)[:-5], "breaks off"),
        ("too long", with_another(0) + with_another(0), "longer than it should be"),
        ("nothing", b"", "shorter than it should be"),
        ("no end of line", b"x" * 2000, "breaks off, or a line is too long"),
    ):
        one.tamper = {"changes": lambda _, body=body: body}  # type: ignore[misc]
        three.refused(one, match)
    one.tamper = {}
    assert me.fetch(one).read.added == 3


@pytest.mark.long
def test_a_snapshot_is_believed_as_a_whole_or_not_at_all(three: Three) -> None:
    me, one = three.me, three.one
    one.lists(*(pdq() for _ in range(4)))

    def changed(data: bytes, at: int, line: bytes | None) -> bytes:
        lines = data.split(b"\n")
        lines[at : at + 1] = [] if line is None else [line]
        return b"\n".join(lines)

    for tamper, match in (
        (lambda data: changed(data, 6, None), "breaks off|more lines|does not fit"),
        (lambda data: changed(data, 6, data.split(b"\n")[7]), "something else than entries in order|does not fit"),
        (lambda data: data[:-20], "breaks off"),
        (lambda data: data + data.split(b"\n")[-2] + b"\n", "more lines than it says"),
        (lambda data: data.replace(b'"quality":80', b'"quality":81', 1), "does not fit"),
        (lambda data: data.replace(b'"entries":4', b'"entries":3'), "more lines than it says"),
    ):
        one.tamper = {"snapshot": tamper}
        with pytest.raises(SharingError, match=match):
            me.subscribe(one)
        assert (open_publishers(me.settings).all(), me.catalog.lists()) == ([], ())
    one.tamper = {}
    assert me.subscribe(one).read.added == 4


def test_an_expired_head_is_refused_and_says_since_when(three: Three) -> None:
    me, one = three.me, three.one
    one.lists(pdq())
    me.subscribe(one)
    me.waits(DAY, one)
    before = me.listed("one.example")
    three.clock[0] += 15 * 86_400
    three.refused(one, "its head expired 1.0 days ago: it was not published since, or somebody keeps back what was")
    assert me.listed("one.example") == before
    one.lists()
    me.fetch(one)
    assert open_publishers(me.settings).get(one.name).failure == ""


@pytest.mark.long
def test_a_clock_that_is_a_day_off_changes_nothing_and_more_is_said(tmp_path: Path) -> None:
    for off in (-86_400.0, 86_400.0):
        clock = [AT]
        me = Subscriber(tmp_path / f"me{off}", clock)
        one = Published(tmp_path / f"one{off}", "one.example", clock, off_s=off)
        picture = pdq()
        me.judged("both", [picture])
        one.lists(picture)
        me.subscribe(one)
        me.waits(DAY - 0.1, one)
        assert me.verdict("both") == CLEAR  # whatever the publisher's clock says, a day is waited here
        me.waits(0.1, one)
        assert me.verdict("both") == REVIEW
        me.end()
    late = Published(tmp_path / "late", "late.example", [AT], off_s=30 * 3600)
    late.lists(pdq())
    me = Subscriber(tmp_path / "me", [AT])
    with pytest.raises(SharingError, match="signed 30 hours from now: one of both clocks is wrong"):
        me.subscribe(late)
    me.end()


@pytest.mark.long
def test_a_key_is_followed_by_the_old_ones_word_alone(three: Three) -> None:
    me, one = three.me, three.one
    one.lists(pdq())
    me.subscribe(one)
    thief = one.copied(three.folder / "thief")
    one.log.change_key()
    one.lists(pdq())
    assert me.fetch(one).read.added == 1
    assert open_publishers(me.settings).get(one.name).key != one.key
    one.log.change_key()
    one.lists(pdq())
    assert me.fetch(one).read.added == 1
    thief.lists(pdq(), pdq(), pdq(), pdq())  # with the first key, and its history
    three.refused(thief, "signed by the key")


@pytest.mark.long
def test_a_lost_key_is_told_from_an_attack_by_a_person(three: Three) -> None:
    me, one = three.me, three.one
    one.lists(pdq())
    me.subscribe(one)
    one.log.set_aside()
    one.log.create(one.name)
    one.lists(pdq(), pdq())
    three.refused(one, "signed by the key [0-9A-F]{16}, not by [0-9A-F]{16}")
    with pytest.raises(SharingError, match="ask the publisher, in another way"):
        me.fetch(one)
    leave(me.settings, me.ledger, me.catalog, one.name)
    with pytest.raises(SharingError, match="signed by the key"):
        me.subscribe(one)
    state = one.log.state()
    assert state is not None
    assert me.subscribe(one, key=state.key).read.added == 3


@pytest.mark.long
def test_a_new_key_that_the_old_one_did_not_sign_is_refused(three: Three) -> None:
    me, one = three.me, three.one
    one.lists(pdq())
    me.subscribe(one)
    one.log.change_key()
    page = one.log.page(1, 2)
    told = read_object(page[:-1])
    forger = SecretKey(b"f" * 32)
    told["key"] = forger.public.text
    line = canonical(told)
    head = Statement(What.HEAD, one.name, 2, link_of(line), 1, int(AT), int(AT) + 86_400)
    one.tamper = {"changes": lambda _: line + b"\n", "head": lambda _: signed_head(head, forger)}
    three.refused(one, "a new key that the old one did not sign")


@pytest.mark.long
def test_another_publishers_head_is_refused(three: Three) -> None:
    me, one, two = three.me, three.one, three.two
    one.lists(pdq())
    me.subscribe(one)
    state = two.log.state()
    assert state is not None
    one.tamper = {"head": lambda _: state.head}
    three.refused(one, "its head is of another list, two.example")
    one.tamper = {"head": lambda _: b"<html>maintenance</html>"}
    three.refused(one, "no signature in front of it")
    one.tamper = {"head": lambda data: data * 1000}
    three.refused(one, "more than 4096 bytes")


@pytest.mark.long
def test_a_flood_is_refused_whole(tmp_path: Path) -> None:
    clock = [AT]
    me = Subscriber(tmp_path / "me", clock, max_entries=30, max_entries_per_day=5)
    one = Published(tmp_path / "one", "one.example", clock)
    one.lists(*(pdq() for _ in range(20)))
    assert me.subscribe(one).read.added == 20
    clock[0] += 90_000
    one.lists(*(pdq() for _ in range(3)))
    me.fetch(one)
    one.lists(*(pdq() for _ in range(3)))
    with pytest.raises(SharingError, match=r"more within a day than sharing.max_entries_per_day \(5\)"):
        me.fetch(one)
    assert standings(me.settings, me.now)[0].in_force == 23
    clock[0] += 90_000
    assert me.fetch(one).read.added == 3
    big = Published(tmp_path / "big", "big.example", clock)
    big.lists(*(pdq() for _ in range(31)))
    with pytest.raises(SharingError, match=r"31 entries, more than sharing.max_entries \(30\)"):
        me.subscribe(big)
    me.end()


@pytest.mark.long
def test_a_bomb_is_not_unpacked_beyond_what_was_asked_for(three: Three) -> None:
    me, one = three.me, three.one
    one.lists(pdq())
    me.subscribe(one)
    one.lists(pdq())
    one.tamper = {"changes": lambda data: data + b"\n" * (50 << 20)}
    assert len(gzip.compress(b"\n" * (50 << 20))) < 1 << 20
    three.refused(one, "longer than it should be")


@pytest.mark.long
def test_a_foreign_token_gets_nothing_and_is_told_so(three: Three) -> None:
    me, one = three.me, three.one
    one.lists(pdq())
    with pytest.raises(KnownError, match=r"does not accept the credentials \(401\)"):
        me.subscribe(one, token="fss_foreign")
    assert open_publishers(me.settings).all() == []


@pytest.mark.long
def test_a_token_is_never_sent_in_the_clear(three: Three) -> None:
    from fedi_safety.app.sharing.subscribing import subscribe

    me, one = three.me, three.one
    with pytest.raises(KnownError, match="unencrypted"):
        subscribe(me.settings, me.ledger, me.catalog, "http://one.example", one.key, one.token, server=one.server())
    assert one.asked == []


@pytest.mark.long
def test_what_ends_amid_it_is_gone_on_with(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    me, one, two = three.me, three.one, three.two
    picture = pdq()
    me.judged("both", [picture])
    one.lists(picture)
    two.lists(picture)
    me.subscribe(one)
    with monkeypatch.context() as patched:  # killed after the lists were changed, before they were applied
        patched.setattr(
            "fedi_safety.app.sharing.subscribing.apply", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            me.subscribe(two)
    assert me.verdict("both") == CLEAR
    settled(me.settings, me.ledger, me.catalog, two.name)
    assert me.verdict("both") == BLOCK


@pytest.mark.long
def test_a_publisher_cannot_take_the_place_of_a_list_of_this_instances_own(three: Three) -> None:
    me = three.me
    for name in ("dismissed", "me.example"):
        hostile = Published(three.folder / name, name, three.clock)
        hostile.lists(pdq(), verdict=Word.HARMLESS)
        with pytest.raises(SharingError, match=r"there is a list dismissed already|is this instance's own list"):
            me.subscribe(hostile)
    one = three.one
    me.subscribe(one)
    me.take(KnownList("one.example"), Listed(HashKind.PDQ, pdq(), "1"))
    own = me.listed("one.example")
    one.lists(pdq())
    with pytest.raises(SharingError, match=r"a list one.example that is not the publisher's"):
        me.fetch(one)
    assert me.listed("one.example") == own


@pytest.mark.long
def test_two_entries_of_one_id_are_refused(three: Three) -> None:
    me, one = three.me, three.one
    one.log._random = lambda size: b"\x07" * size
    one.lists(pdq(), pdq())
    with pytest.raises(SharingError, match="two of its entries have one id"):
        me.subscribe(one)
    assert open_publishers(me.settings).all() == []


@pytest.mark.long
def test_what_was_dismissed_here_and_a_publisher_lists_is_published_as_harmless_and_nothing_else(three: Three) -> None:
    me, one = three.me, three.one
    cat, hat = pdq(), pdq()
    me.judged("cat", [cat])
    me.judged("hat", [hat])
    one.lists(cat)
    me.subscribe(one)
    me.waits(DAY, one)
    assert me.verdict("cat") == REVIEW
    for key in ("cat", "hat"):
        me.ledger.dismiss(sha(key), "")
    assert dict(me.publish().contents) == {"harmless": 1}
    leave(me.settings, me.ledger, me.catalog, one.name)
    assert me.publish().done.retracted == 2


@pytest.mark.long
def test_other_terms_are_applied_to_entries_that_were_there(three: Three) -> None:
    me, one, two = three.me, three.one, three.two
    picture = pdq()
    me.judged("both", [picture])
    one.lists(picture)
    two.lists(picture)
    me.subscribe(one, group="friends")
    me.subscribe(two, group="friends")
    assert me.verdict("both") == CLEAR  # both wait, and are one group
    open_publishers(me.settings).set_group(two.name, "others")
    me.fetch(two)
    assert me.verdict("both") == BLOCK


@pytest.mark.long
def test_doctor_says_how_publishers_were_read_and_until_when_the_own_list_is_signed(three: Three) -> None:
    from fedi_safety.cli.doctor_cmd import _sharing

    me, one = three.me, three.one
    assert list(_sharing(me.settings)) == []
    one.lists(pdq())
    me.subscribe(one)
    me.publish()
    own, publisher = _sharing(me.settings)
    assert own.ok and "me.example: change 0, signed until" in own.detail
    assert (publisher.ok, publisher.code, publisher.detail) == (True, 0, "one.example: 1 entry in force, 0 held")
    three.clock[0] += 15 * 86_400
    with pytest.raises(SharingError):
        me.fetch(one)
    _, publisher = _sharing(me.settings)
    assert not publisher.ok and publisher.code == 3 and "was refused: its head expired" in publisher.detail
