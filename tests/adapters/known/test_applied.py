"""Lists applied to what was judged before: by stored hashes alone, explained, planned, and never over a person's no."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fedi_safety.app.known import backwards
from fedi_safety.app.known.compared import Current
from fedi_safety.app.known.lists import (
    DISMISSED,
    apply,
    apply_all,
    describe,
    drop,
    find_list,
    keep_dismissals,
    open_catalog,
    remember_dismissal,
    take_in,
)
from fedi_safety.cli.hashes.words import turned_line
from fedi_safety.core.enums import ActKind, Verdict
from fedi_safety.core.errors import KnownError, KnownUsageError
from fedi_safety.core.known.types import BY_SUREST, DISTANCE, Effect, Entry, HashKind, KnownList
from fedi_safety.core.ledger.matches import Rematch
from fedi_safety.core.types import Match, Signal
from fedi_safety.known import upkeep
from fedi_safety.known.catalog import Catalog
from fedi_safety.known.formats import read
from fedi_safety.known.records import Imported
from support.judged_before import POLICY, World, flipped, md5, pdq, sha


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.catalog.close()
    made.ledger.dispose()


THEIRS = KnownList("theirs")
CLEAR = Verdict.CLEAR, True
BLOCK = Verdict.BLOCK, True


def test_an_image_on_a_new_list_is_found_among_what_was_judged_before(world: World) -> None:
    one = pdq()
    world.judged("near", [flipped(one, 31)])
    world.judged("far", [flipped(one, 32)])
    world.judged("clip", [pdq(), flipped(one, 3), pdq()])
    world.judged("dull", [one], quality=49)
    world.judged("bytes", [])
    world.judged("unhashed", hashed=False)
    entries = [Entry(HashKind.PDQ, one, "1"), Entry(HashKind.MD5, md5("bytes"), "2")]
    entries += [Entry(HashKind.SHA256, sha("unhashed"), "3"), Entry(HashKind.MD5, md5("near"), "4")]
    dry = world.take(THEIRS, *entries, dry_run=True)
    assert world.catalog.lists() == ()
    assert (dry.moves[("clear", "block")], dry.objects[("clear", "block")]) == (4, 4)
    assert world.verdict("near") == CLEAR
    taken = world.take(THEIRS, *entries)
    assert taken.moves == dry.moves
    assert (taken.contents, taken.hashed) == (6, 5)
    assert world.planned() == ["bytes", "clip", "near", "unhashed"]
    assert [world.verdict(key) for key in ("near", "clip", "bytes", "unhashed")] == [BLOCK] * 4
    assert [world.verdict(key) for key in ("far", "dull")] == [CLEAR] * 2
    reasons = world.ledger.contents([sha("clip")])[sha("clip")][1].reasons
    (match,) = reasons[0].factors[0].matches
    assert (match.list, match.entry, match.distance) == ("theirs", "1", 3)
    assert reasons[0].factors[0].frame == 1
    world.whole()


def test_doing_it_again_changes_nothing_and_a_policy_is_not_another_for_a_list(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backwards, "_AT_ONCE", 1)  # what is met twice is counted once, whatever is asked for together
    one = pdq()
    world.judged("a", [one])
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    policy = world.ledger.contents([sha("a")])[sha("a")][1].policy
    again = world.take(THEIRS, Entry(HashKind.PDQ, one, "1"), Entry(HashKind.PDQ, pdq(), "2"))
    assert not again.moves
    assert again.hits == 1
    assert world.ledger.contents([sha("a")])[sha("a")][1].policy == policy
    assert world.planned() == ["a"]


def test_what_was_condemned_for_an_entry_that_is_gone_is_decided_anew(world: World) -> None:
    one, other = pdq(), pdq()
    world.judged("a", [one])
    world.judged("b", [other])
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"), Entry(HashKind.PDQ, other, "2"))
    assert world.planned() == ["a", "b"]
    world.take(THEIRS, Entry(HashKind.PDQ, other, "2"))
    assert (world.verdict("a"), world.verdict("b"), world.planned()) == (CLEAR, BLOCK, ["b"])
    foretold = drop(world.settings, world.ledger, world.catalog, "theirs", dry_run=True)
    assert foretold.moves == {("block", "clear"): 1}
    assert world.planned() == ["b"]
    assert drop(world.settings, world.ledger, world.catalog, "theirs").moves == foretold.moves
    assert (world.verdict("b"), world.planned()) == (CLEAR, [])
    world.whole()


def test_a_list_for_review_condemns_nothing_and_its_effect_can_be_changed(world: World) -> None:
    one = pdq()
    world.judged("a", [one])
    world.take(replace(THEIRS, effect=Effect.REVIEW), Entry(HashKind.PDQ, one, "1"))
    assert (world.verdict("a"), world.planned()) == ((Verdict.REVIEW, True), [])
    describe(world.settings, world.ledger, world.catalog, THEIRS)
    assert (world.verdict("a"), world.planned()) == (BLOCK, ["a"])
    describe(world.settings, world.ledger, world.catalog, replace(THEIRS, effect=Effect.NEGATIVE))
    assert (world.verdict("a"), world.planned()) == (CLEAR, [])
    world.whole()


@pytest.mark.parametrize("how", ["mirrored", BY_SUREST])
def test_a_hit_that_stored_bits_do_not_tell_stays_as_long_as_its_entry(world: World, how: str) -> None:
    one, turned = pdq(), pdq()
    world.judged("a", [turned])
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"), Entry(HashKind.PDQ, pdq(), "2"))
    content, judgement, _ = world.ledger.contents([sha("a")])[sha("a")]
    hit = Signal(1.0, 0, matches=(Match("theirs", "1", 6, how),))
    signals = {**content.scores.signals, "known.block": hit, "known.match": hit}
    condemned = replace(judgement, verdict=Verdict.BLOCK)
    rematch = Rematch(sha("a"), replace(content.scores, signals=signals), condemned)
    world.ledger.rematch(world.ledger.begin_run("scan", world.url, {}), [rematch])
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    assert world.verdict("a") == BLOCK
    world.take(THEIRS, Entry(HashKind.PDQ, pdq(), "2"))
    assert world.verdict("a") == CLEAR


def test_a_turned_copy_of_what_was_dismissed_waits_until_it_is_read_again(world: World) -> None:
    one, turned = pdq(), pdq()
    world.judged("cat", [one])
    world.judged("mirrored", [turned])
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    content, judgement, _ = world.ledger.contents([sha("mirrored")])[sha("mirrored")]
    hit = Signal(1.0, 0, matches=(Match("theirs", "1", 6, "mirrored"),))
    scores = replace(content.scores, signals={**content.scores.signals, "known.block": hit, "known.match": hit})
    condemned = Rematch(sha("mirrored"), scores, replace(judgement, verdict=Verdict.BLOCK))
    world.ledger.rematch(world.ledger.begin_run("scan", world.url, {}), [condemned])
    apply(world.settings, world.ledger, Current(world.catalog), ["theirs"])
    assert (world.verdict("mirrored"), world.planned()) == (BLOCK, ["cat", "mirrored"])
    world.ledger.dismiss(sha("cat"), "a cat")
    remember_dismissal(world.settings, world.ledger)
    assert world.verdict("mirrored") == (Verdict.BLOCK, False)
    (plan,) = world.ledger.open_plans(world.url)
    assert world.ledger.start(world.ledger.begin_run("apply", world.url, {}), [plan]) == []
    world.whole()


def test_a_no_holds_for_the_next_copy_and_can_be_taken_back(world: World) -> None:
    one = pdq()
    world.judged("cat", [one])
    world.judged("copy", [flipped(one, 10)])
    world.judged("other", [flipped(one, 25)])
    world.judged("very bytes", [flipped(one, 4)])
    entries = [
        Entry(HashKind.PDQ, one, "1"),
        Entry(HashKind.MD5, md5("very bytes"), "2"),
        Entry(HashKind.PDQ, flipped(one, 25), "3"),  # to which the other is nearer than to what was dismissed
    ]
    world.take(THEIRS, *entries)
    assert world.planned() == ["cat", "copy", "other", "very bytes"]
    world.ledger.dismiss(sha("cat"), "a cat")
    remember_dismissal(world.settings, world.ledger)
    assert (world.verdict("copy"), world.verdict("other")) == (CLEAR, BLOCK)
    assert world.verdict("very bytes") == BLOCK
    assert world.planned() == ["other", "very bytes"]
    own = find_list(world.catalog, DISMISSED)
    assert own is not None and (own.effect, own.distance, own.redistribute) == (Effect.NEGATIVE, DISTANCE, False)
    assert {entry.kind for entry in world.catalog.entries(DISMISSED)} == {HashKind.SHA256, HashKind.PDQ}
    again = world.take(THEIRS, *entries, dry_run=True)
    assert again.dismissed == [sha("cat")]
    world.ledger.restore(sha("cat"))
    remember_dismissal(world.settings, world.ledger, undo=True)
    assert list(world.catalog.entries(DISMISSED)) == []
    assert world.verdict("copy") == BLOCK
    world.whole()


def test_a_no_from_before_the_first_list_is_remembered_by_it(world: World) -> None:
    one = pdq()
    world.judged("cat", [one])
    world.judged("copy", [flipped(one, 10)])
    world.ledger.dismiss(sha("cat"), "a cat")
    assert remember_dismissal(world.settings, world.ledger) == []
    assert world.catalog.lists() == ()
    dry = world.take(THEIRS, Entry(HashKind.PDQ, one, "1"), dry_run=True)
    assert (dry.moves, dry.dismissed) == ({}, [sha("cat")])
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    assert (world.verdict("cat"), world.verdict("copy"), world.planned()) == (CLEAR, CLEAR, [])


def test_a_list_that_is_dismissed_too_often_turns_to_review_and_says_so(world: World, tmp_path: Path) -> None:
    hashes = [pdq() for _ in range(8)]
    for i, each in enumerate(hashes):
        world.judged(f"picture {i}", [each])
    world.take(THEIRS, *(Entry(HashKind.PDQ, each, str(i)) for i, each in enumerate(hashes)))
    said = []
    for i in range(3):
        world.ledger.dismiss(sha(f"picture {i}"), "")
        said.append(remember_dismissal(world.settings, world.ledger))
    assert [any("theirs" in line for line in lines) for lines in said] == [False, False, True]
    assert "3 of its 8 hits were dismissed" in said[-1][0]
    known = find_list(world.catalog, "theirs")
    assert known is not None and known.effect is Effect.REVIEW
    assert world.planned() == []
    assert world.verdict("picture 5") == (Verdict.REVIEW, True)
    turned = world.ledger.hits_by_list()["theirs"].turned
    assert turned is not None and (turned.contents, turned.dismissed) == (8, 3)
    assert "turned to review by itself on " in turned_line(known, world.ledger.hits_by_list()["theirs"])
    assert turned_line(replace(known, effect=Effect.BLOCK), world.ledger.hits_by_list()["theirs"]) == ""
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        rows = connection.execute("SELECT payload FROM events WHERE kind = 'list.turned'").fetchall()
    told = [json.loads(payload) for (payload,) in rows]
    assert [(one["list"], one["contents"], one["dismissed"]) for one in told] == [("theirs", 8, 3)]
    assert world.ledger.verify().problem is None


def test_a_list_that_cannot_be_turned_was_on_record_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = [pdq() for _ in range(3)]
    for i, each in enumerate(hashes):
        world.judged(f"picture {i}", [each])
    world.take(THEIRS, *(Entry(HashKind.PDQ, each, str(i)) for i, each in enumerate(hashes)))
    for i in range(3):
        world.ledger.dismiss(sha(f"picture {i}"), "")

    def full(*_: object) -> None:
        raise KnownError("the lists", "the disk is full", "make room")

    monkeypatch.setattr(Catalog, "describe", full)
    with pytest.raises(KnownError):
        remember_dismissal(world.settings, world.ledger)
    assert world.ledger.hits_by_list()["theirs"].turned is not None


def test_an_import_leaves_nothing_to_be_merged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, value in (("LOOSE_ROWS", 2), ("_CHEAP_ROWS", 0), ("_DEAR", 0)):
        monkeypatch.setattr(upkeep, limit, value)
    for name, count in (("theirs", 5), ("others", 10)):
        world.take(KnownList(name), *(Entry(HashKind.PDQ, pdq(), str(i)) for i in range(count)))
    assert not world.catalog.merge()


def test_a_file_without_a_usable_hash_leaves_the_list_as_it_was(world: World, tmp_path: Path) -> None:
    one = pdq()
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    path = tmp_path / "bad.txt"
    path.write_text("pdq 00\npdq zz\npdna 00\n")
    with pytest.raises(KnownUsageError, match=r"no hash in it can be used: 2 with a wrong length, first line 1"):
        take_in(world.settings, world.ledger, world.catalog, THEIRS, read(path))
    assert [entry.hash for entry in world.catalog.entries("theirs")] == [one]


def test_what_scores_do_not_tell_is_undecided_and_its_plan_waits(world: World) -> None:
    one = pdq()
    world.judged("a", [one])
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    wider = POLICY + '\n[[rules]]\nname = "red"\nwhen = { nude = 0.5 }\nverdict = "block"\n'
    wider = wider.replace("[factors]", '[factors]\nnude = ["nudity.exposed"]')
    (world.folder / "policy.toml").write_text(wider)
    drop(world.settings, world.ledger, world.catalog, "theirs")
    assert world.verdict("a") == (Verdict.BLOCK, False)
    (plan,) = world.ledger.open_plans(world.url)
    assert plan.act is ActKind.DELETE
    assert world.ledger.start(world.ledger.begin_run("apply", world.url, {}), [plan]) == []
    world.whole()


def test_the_own_list_is_what_the_ledger_says_however_often_it_is_made(world: World) -> None:
    world.judged("a", [pdq(), pdq()])
    world.take(THEIRS, Entry(HashKind.PDQ, pdq(), "1"))
    world.ledger.dismiss(sha("a"), "")
    for _ in range(2):
        keep_dismissals(world.ledger, world.catalog)
        assert len(list(world.catalog.entries(DISMISSED))) == 3


def test_a_process_that_ended_between_list_and_ledger_leaves_nothing_that_matching_does_not_find(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pdq()
    world.judged("a", [one])
    with monkeypatch.context() as patch:
        patch.setattr("fedi_safety.app.known.lists.apply_lists", killed)
        with pytest.raises(SystemExit):
            world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    assert (world.verdict("a"), world.planned()) == (CLEAR, [])
    applied = apply(world.settings, world.ledger, Current(world.catalog), ["theirs"])
    assert applied.moves == {("clear", "block"): 1}
    assert world.planned() == ["a"]
    world.whole()


def test_a_process_that_ended_before_it_planned_leaves_no_object_without_a_plan(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pdq()
    world.judged("a", [one])
    with monkeypatch.context() as patch:
        patch.setattr("fedi_safety.app.known.backwards._plan", killed)
        with pytest.raises(SystemExit):
            world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    assert (world.verdict("a"), world.planned()) == (BLOCK, [])
    assert apply(world.settings, world.ledger, Current(world.catalog)).planned == 1
    assert world.planned() == ["a"]


def test_the_own_list_is_nobodys_to_fill_or_to_turn_round(world: World) -> None:
    world.take(THEIRS, Entry(HashKind.PDQ, pdq(), "1"))
    own = find_list(world.catalog, DISMISSED)
    assert own is not None
    with pytest.raises(KnownUsageError, match="dismissed here"):
        world.take(replace(own, effect=Effect.BLOCK), Entry(HashKind.PDQ, pdq(), "1"))
    for other in (replace(own, effect=Effect.BLOCK), replace(own, redistribute=True)):
        with pytest.raises(KnownUsageError, match="dismissed here"):
            describe(world.settings, world.ledger, world.catalog, other)
    with pytest.raises(KnownUsageError, match="dismissed here"):
        drop(world.settings, world.ledger, world.catalog, DISMISSED)
    describe(world.settings, world.ledger, world.catalog, replace(own, distance=8))


def killed(*_: object, **__: object) -> None:
    raise SystemExit


def test_damaged_lists_condemn_and_clear_nothing(world: World) -> None:
    one = pdq()
    world.judged("a", [one])
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    (world.folder / "known/lists.sqlite").write_bytes(b"no database" * 100)
    for beside in (world.folder / "known").glob("lists.sqlite-*"):
        beside.unlink()
    with open_catalog(world.settings) as catalog, pytest.raises(KnownError):
        apply(world.settings, world.ledger, Current(catalog), ["theirs"])
    assert (world.verdict("a"), world.planned()) == (BLOCK, ["a"])


def test_a_clip_is_met_backwards_as_a_scan_meets_it(world: World) -> None:
    shown = [pdq() for _ in range(5)]
    world.judged("still", shown[:1] * 6)
    world.judged("flicker", shown[:2] * 4)
    world.judged("slow", [each for each in shown[:4] for _ in range(2)] + [pdq()])
    world.judged("part", [*shown[:3], *(pdq() for _ in range(2))])
    world.judged("covered", shown[:3], cover=pdq())
    world.judged("cover of it", [*shown[:2], *(pdq() for _ in range(1))], cover=shown[2])
    frames = [Entry(HashKind.PDQ, each, f"c@{i}", clip="c") for i, each in enumerate(shown)]
    world.take(THEIRS, *frames)
    assert world.planned() == ["covered", "slow"]


def test_a_listed_picture_is_met_by_the_cover_of_a_clip(world: World) -> None:
    one = pdq()
    world.judged("covered", [pdq(), pdq()], cover=flipped(one, 5))
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    assert world.planned() == ["covered"]
    (content, _, _) = world.ledger.contents([sha("covered")])[sha("covered")]
    assert content.scores.signals["known.block"].frame == 4


def moved(digest: bytes, bits: int) -> bytes:
    """Change so many bits, half of them set ones: with fewer than 128 set it would be met by itself alone."""
    number = int.from_bytes(digest, "big")
    chosen = [[place for place in range(256) if number >> place & 1 == value][: bits // 2] for value in (0, 1)]
    for place in (*chosen[0], *chosen[1]):
        number ^= 1 << place
    return number.to_bytes(32, "big")


def test_a_no_holds_for_a_copy_although_what_was_dismissed_meets_no_list(world: World) -> None:
    one = pdq()
    world.judged("cat", [one])
    world.judged("copy", [moved(one, 10)])
    world.take(THEIRS, Entry(HashKind.PDQ, moved(one, 40), "1"))
    assert world.planned() == ["copy"]
    world.ledger.dismiss(sha("cat"), "a cat")
    remember_dismissal(world.settings, world.ledger)
    assert (world.verdict("copy"), world.planned()) == (CLEAR, [])
    world.ledger.restore(sha("cat"))
    remember_dismissal(world.settings, world.ledger, undo=True)
    assert world.verdict("copy") == BLOCK


def test_a_copy_that_only_its_surest_bits_tell_from_what_is_listed_waits_until_it_is_read_again(world: World) -> None:
    """What met a dismissed picture by these was held back; they are not stored, so nothing is said without them."""
    one = pdq()
    world.judged("cat", [one])
    world.judged("copy", [moved(one, 40)])
    world.take(THEIRS, Entry(HashKind.PDQ, pdq(), "1"))
    world.ledger.dismiss(sha("cat"), "a cat")
    remember_dismissal(world.settings, world.ledger)
    world.take(THEIRS, Entry(HashKind.PDQ, moved(one, 20), "2"))
    assert world.verdict("copy") == (Verdict.CLEAR, False) and world.planned() == []
    world.whole()


def test_of_two_dismissals_at_once_none_is_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.judged("a", [pdq()])
    world.judged("b", [pdq()])
    world.take(THEIRS, Entry(HashKind.PDQ, pdq(), "1"))
    world.ledger.dismiss(sha("a"), "")

    def meanwhile(known: KnownList, entries: Iterable[Entry]) -> Imported:
        def read() -> Iterator[Entry]:
            yield from entries
            monkeypatch.undo()
            world.ledger.dismiss(sha("b"), "by another process")
            with open_catalog(world.settings) as other:
                keep_dismissals(world.ledger, other)

        return put(known, read())

    put = world.catalog.put
    monkeypatch.setattr(world.catalog, "put", meanwhile)
    keep_dismissals(world.ledger, world.catalog)
    names = {entry.id for entry in world.catalog.entries(DISMISSED, kind=HashKind.SHA256)}
    assert names == {sha("a").hex(), sha("b").hex()}


def met_turned(world: World, key: str, entry: str, frame: int = 0) -> None:
    """Write down what a scan does that found a content's frame mirrored on the list `theirs`."""
    content, judgement, _ = world.ledger.contents([sha(key)])[sha(key)]
    hit = Signal(1.0, frame, matches=(Match("theirs", entry, 6, "mirrored"),))
    scores = replace(content.scores, signals={**content.scores.signals, "known.block": hit, "known.match": hit})
    condemned = Rematch(sha(key), scores, replace(judgement, verdict=Verdict.BLOCK))
    world.ledger.rematch(world.ledger.begin_run("scan", world.url, {}), [condemned])


def test_a_cover_that_met_an_entry_turned_is_no_moment_either(world: World) -> None:
    shown = [pdq() for _ in range(3)]
    world.judged("covered", shown, cover=pdq())
    world.take(THEIRS, Entry(HashKind.PDQ, pdq(), "1"))
    met_turned(world, "covered", "1", frame=6)
    clip = [Entry(HashKind.PDQ, each, f"c@{i}", clip="c") for i, each in enumerate(shown)]
    world.take(KnownList("clips"), *clip)
    (content, _, _) = world.ledger.contents([sha("covered")])[sha("covered")]
    signal = content.scores.signals["known.block"]
    assert {match.list for match in signal.matches} == {"clips"}, "all of its three moments, each at distance 0"
    world.take(THEIRS, Entry(HashKind.PDQ, pdq(), "2"))
    assert (world.verdict("covered"), world.planned()) == (BLOCK, ["covered"]), "for the clip alone"


def test_a_clip_that_met_an_entry_turned_stays_as_long_as_its_entry(world: World) -> None:
    frames = [Entry(HashKind.PDQ, pdq(), f"c@{i}", clip="c") for i in range(4)]
    world.judged("mirrored", [pdq() for _ in range(4)])
    world.take(THEIRS, *frames)
    met_turned(world, "mirrored", "c")
    world.take(THEIRS, *frames)
    assert (world.verdict("mirrored"), world.planned()) == (BLOCK, ["mirrored"])
    world.take(THEIRS, Entry(HashKind.PDQ, pdq(), "1"))
    assert world.verdict("mirrored") == CLEAR


def test_lists_that_are_not_there_prove_nothing(world: World) -> None:
    one = pdq()
    world.judged("a", [one])
    assert apply_all(world.settings, world.ledger, world.catalog).moves == {}
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    (world.folder / "known").rename(world.folder / "elsewhere")
    for dry_run in (True, False):
        with open_catalog(world.settings) as gone, pytest.raises(KnownError, match="there were lists"):
            apply_all(world.settings, world.ledger, gone, dry_run=dry_run)
    assert (world.verdict("a"), world.planned()) == (BLOCK, ["a"])
    (world.folder / "elsewhere").rename(world.folder / "known")
    with open_catalog(world.settings) as back:
        back.drop("theirs")
        back.drop(DISMISSED)
        assert apply_all(world.settings, world.ledger, back).moves == {("block", "clear"): 1}


def test_comparing_all_makes_up_for_a_dismissal_that_the_lists_were_not_told_of(world: World) -> None:
    one = pdq()
    world.judged("cat", [one])
    world.judged("copy", [flipped(one, 10)])
    world.take(THEIRS, Entry(HashKind.PDQ, one, "1"))
    world.ledger.dismiss(sha("cat"), "")
    dry = apply_all(world.settings, world.ledger, world.catalog, dry_run=True)
    assert world.verdict("copy") == BLOCK
    assert apply_all(world.settings, world.ledger, world.catalog).moves == dry.moves == {("block", "clear"): 1}
    assert world.verdict("copy") == CLEAR
