"""The catalog: what is put is what is found, whatever was put, changed, dropped and merged before it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from hashlib import md5, sha1, sha256
from pathlib import Path

import numpy as np
import pytest

from fedi_safety.core import sqlite_files
from fedi_safety.core.errors import KnownError, KnownUsageError
from fedi_safety.core.known.types import Effect, Entry, HashKind, Hit, KnownList
from fedi_safety.core.types import Fingerprints
from fedi_safety.known import tables, upkeep
from fedi_safety.known.catalog import MOST_DISTANCE, Catalog
from fedi_safety.known.images import MOST_HITS
from fedi_safety.known.index import segment
from fedi_safety.known.index.chunks import Words
from fedi_safety.known.index.search import Found
from fedi_safety.known.index.segment import Segment
from fedi_safety.known.progress import SourceState
from fedi_safety.known.records import WHOLE_BITS, Imported, Refusal, Withdrawn
from support.known import Hashes, altered, distance, entries, pdqs

MANY = pdqs(400)
BYTES = b"harmless"
PRINTS = Fingerprints(sha256(BYTES).digest(), sha1(BYTES).digest(), md5(BYTES).digest(), len(BYTES))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "known", now=lambda: 1000.0) as opened:
        yield opened


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows make a segment, so that there are several."""
    monkeypatch.setattr(upkeep, "LOOSE_ROWS", 20)


def met(catalog: Catalog, one: Hashes) -> list[tuple[str, str, int]]:
    (hits,) = catalog.images().near(one[None])
    return [(hit.list, hit.entry, hit.distance) for hit in hits]


def test_where_no_list_is_nothing_is_made_and_nothing_met(catalog: Catalog, tmp_path: Path) -> None:
    images = catalog.images()
    before = images.digest
    assert (catalog.lists(), catalog.statistics(), catalog.verify(), catalog.mark()) == ((), (), (), 0)
    assert images.near(MANY[:2]) == [[], []] and images.exact(PRINTS) == []
    assert list(catalog.join(lambda: [("page", MANY)])) == []
    assert not (tmp_path / "known").exists()
    catalog.put(KnownList("a"), entries(MANY[:1]))
    assert images.digest != before and images.near(MANY[:2])[0]


def test_a_hit_names_list_entry_effect_and_distance_the_nearest_first(catalog: Catalog) -> None:
    catalog.put(KnownList("far", Effect.REVIEW), [Entry(HashKind.PDQ, MANY[0].tobytes())])
    catalog.put(KnownList("near", share=0.5), [Entry(HashKind.PDQ, altered(MANY[0], 3).tobytes(), id="x", clip="c")])
    (hits,) = catalog.images().near(altered(MANY[0], 3)[None])
    assert hits == [
        Hit("near", Effect.BLOCK, "x", HashKind.PDQ, 0, clip="c", share=0.5),
        Hit("far", Effect.REVIEW, MANY[0].tobytes().hex(), HashKind.PDQ, 3),
    ]


def test_byte_hashes_are_met_by_themselves_of_every_kind(catalog: Catalog) -> None:
    kinds = {HashKind.SHA256: PRINTS.sha256, HashKind.SHA1: PRINTS.sha1, HashKind.MD5: PRINTS.md5}
    for kind, value in kinds.items():
        others = [Entry(kind, bytes([n]) * kind.size_bytes) for n in range(1, 9)]
        catalog.put(KnownList(kind.value), [Entry(kind, value, id=f"the {kind.value}"), *others])
    hits = catalog.images().exact(PRINTS)
    assert {(hit.list, hit.entry, hit.distance) for hit in hits} == {(k.value, f"the {k.value}", 0) for k in kinds}
    other = replace(PRINTS, md5=bytes(16), sha1=bytes(20), sha256=bytes(32))
    assert catalog.images().exact(other) == []
    assert catalog.images().near(np.frombuffer(PRINTS.sha256, np.uint8)[None]) == [[]], "a SHA-256 is no picture's hash"


def test_each_list_has_its_own_distance(catalog: Catalog) -> None:
    for bits in (0, 15, 31, 40, MOST_DISTANCE):
        catalog.put(KnownList(str(bits), distance=bits), entries(MANY[:9]))
    for bits in (0, 1, 15, 16, 31, 32, 40, 41, MOST_DISTANCE, MOST_DISTANCE + 1):
        lists = {name for name, entry, _ in met(catalog, altered(MANY[3], bits)) if entry == "3"}
        assert lists == {str(most) for most in (0, 15, 31, 40, MOST_DISTANCE) if bits <= most}, f"{bits} bits away"


def test_what_all_blank_pictures_share_is_refused_and_drawings_are_met_by_themselves_alone(catalog: Catalog) -> None:
    def with_bits(count: int) -> Hashes:
        return np.packbits(np.arange(256) < count)

    given = [Entry(HashKind.PDQ, with_bits(count).tobytes(), id=str(count)) for count in (0, 69, 99, 100, 127, 128)]
    given += [Entry(HashKind.PDQ, MANY[0].tobytes(), id="poor", quality=49), Entry(HashKind.MD5, bytes(20))]
    given += [Entry(HashKind.SHA256, bytes(32)), Entry(HashKind.PDQ, MANY[1].tobytes(), id="\ud800")]
    given += [Entry(HashKind.PDQ, MANY[1].tobytes(), positive=1 << 70)]
    done = catalog.put(KnownList("a"), given)
    refused = {Refusal.BLANK: 3, Refusal.QUALITY: 1, Refusal.LENGTH: 1, Refusal.VALUES: 2}
    assert done == Imported(accepted=4, added=4, refused=refused)
    assert met(catalog, with_bits(69)) == met(catalog, MANY[0]) == []
    assert met(catalog, with_bits(127))[0] == ("a", "127", 0)
    assert met(catalog, with_bits(101)) == [("a", "128", 27)], "a whole one is met at a distance, a drawing is not"
    assert [(s.exact_only, sum(s.entries.values())) for s in catalog.statistics()] == [(2, 4)]
    stored = np.stack([with_bits(101), with_bits(127)])
    joined = [(n, hit.entry, hit.distance) for _, n, hit in catalog.join(lambda: [(0, stored)])]
    assert sorted(joined) == [(0, "128", 27), (1, "127", 0), (1, "128", 1)], "a join says the same"


def test_what_has_expired_meets_nothing(catalog: Catalog) -> None:
    catalog.put(KnownList("gone", expires_s=1000.0), entries(MANY[:2]))
    once = [replace(entry, expires_s=999.0 + n) for n, entry in enumerate(entries(MANY[:3]))]
    prints = Entry(HashKind.MD5, PRINTS.md5, expires_s=1000.0)
    catalog.put(KnownList("some"), [*once, prints])
    assert [met(catalog, h) for h in MANY[:3]] == [[], [], [("some", "2", 0)]]
    assert catalog.images().exact(PRINTS) == []
    assert [hit.entry for _, _, hit in catalog.join(lambda: [(0, MANY[:3])])] == ["2"]
    assert [s.expired for s in catalog.statistics()] == [0, 3]


def test_putting_again_costs_and_says_what_differs(catalog: Catalog) -> None:
    known = KnownList("a")
    assert catalog.put(known, entries(MANY[:10])) == Imported(10, 10)
    images, mark = catalog.images(), catalog.mark()
    before = images.digest
    assert catalog.put(known, entries(MANY[:10])) == Imported(10)
    assert images.digest == before
    words = [replace(entry, category="A1") if entry.id == "4" else entry for entry in entries(MANY[:10])]
    assert catalog.put(known, words) == Imported(10, replaced=1)
    assert list(catalog.entries("a", after=mark)) == [], "other words are no other hash"
    assert {entry.id: entry.category for entry in catalog.entries("a")}["4"] == "A1"
    other = [replace(entry, hash=MANY[20].tobytes()) if entry.id == "4" else entry for entry in words[:8]]
    assert catalog.put(known, other) == Imported(8, replaced=1, removed=2)
    assert images.digest != before
    assert [entry.id for entry in catalog.entries("a", after=mark)] == ["4"]
    assert met(catalog, MANY[4]) == [] and met(catalog, MANY[20]) == [("a", "4", 0)]
    assert met(catalog, MANY[9]) == []


def test_of_entries_with_one_name_the_last_counts(catalog: Catalog) -> None:
    doubled = [*entries(MANY[:3]), replace(entries(MANY[:1])[0], hash=MANY[7].tobytes())]
    doubled += entries(MANY[30:32], named=False) * 2
    assert catalog.put(KnownList("a"), doubled) == Imported(5, 5, replaced=3)
    assert met(catalog, MANY[0]) == [] and met(catalog, MANY[7]) == [("a", "0", 0)]


def test_frames_of_two_clips_may_have_one_hash(catalog: Catalog) -> None:
    frames = [Entry(HashKind.PDQ, MANY[0].tobytes(), clip=clip) for clip in ("one", "two")]
    assert catalog.put(KnownList("clips"), frames).accepted == 2
    (hits,) = catalog.images().near(MANY[:1])
    assert {hit.clip for hit in hits} == {"one", "two"}


def test_a_change_takes_off_and_puts_on(catalog: Catalog) -> None:
    catalog.put(KnownList("own", Effect.NEGATIVE), entries(MANY[:3], named=False))
    done = catalog.change("own", entries(MANY[5:6], named=False), entries(MANY[:1], named=False))
    assert done == Imported(1, 1, removed=1)
    assert [bool(met(catalog, h)) for h in MANY[[0, 1, 5]]] == [False, True, True]
    both = entries(MANY[1:2], named=False)
    assert catalog.change("own", both, both) == Imported(1), "what leaves and comes stays"
    assert met(catalog, MANY[1])


def test_terms_are_changed_without_the_entries(catalog: Catalog) -> None:
    catalog.put(KnownList("a"), entries(MANY[:3]))
    images, mark = catalog.images(), catalog.mark()
    before = images.digest
    catalog.describe(KnownList("a", Effect.REVIEW, distance=2))
    assert images.digest != before and catalog.mark() == mark
    assert catalog.lists() == (KnownList("a", Effect.REVIEW, distance=2),)
    (hits,) = images.near(altered(MANY[0], 2)[None])
    assert [hit.effect for hit in hits] == [Effect.REVIEW] and met(catalog, altered(MANY[0], 3)) == []


@pytest.mark.parametrize(
    "bad", [KnownList(""), KnownList("a\n"), KnownList("a" * 101), KnownList("a", distance=65), KnownList("a", share=0)]
)
def test_terms_that_cannot_be_are_refused_in_a_line(catalog: Catalog, bad: KnownList) -> None:
    with pytest.raises(KnownUsageError) as caught:
        catalog.put(bad, [])
    assert caught.value.remedy and "\n" not in caught.value.line()


def test_a_list_that_is_not_there_is_said_so(catalog: Catalog) -> None:
    works: list[Callable[[], object]] = [
        lambda: catalog.change("a", []),
        lambda: catalog.drop("a"),
        lambda: catalog.describe(KnownList("a")),
        lambda: list(catalog.entries("a")),
    ]
    for made in (False, True):
        for work in works:
            with pytest.raises(KnownUsageError, match="no such list"):
                work()
        if not made:
            catalog.put(KnownList("b"), [])


def test_an_import_that_breaks_off_changes_nothing(catalog: Catalog) -> None:
    catalog.put(KnownList("a"), entries(MANY[:3]))

    def breaking() -> Iterator[Entry]:
        yield from entries(MANY[10:20])
        raise OSError("the line was cut")

    before = catalog.images().digest
    with pytest.raises(OSError, match="line was cut"):
        catalog.put(KnownList("a"), breaking())
    with pytest.raises(OSError, match="line was cut"):
        catalog.change("a", breaking())
    assert catalog.images().digest == before
    assert len(list(catalog.entries("a"))) == 3
    assert catalog.put(KnownList("a"), entries(MANY[:3])) == Imported(3), "nothing of it is left over"


def test_of_very_many_hits_the_nearest_are_named_and_no_list_is_missed(catalog: Catalog, small_segments: None) -> None:
    crowd = np.stack([altered(MANY[0], 1 + n % 20, seed=n) for n in range(2 * MOST_HITS)])
    stale = [replace(entry, id=f"stale {entry.id}", expires_s=1.0) for entry in entries(np.stack([MANY[0]] * 120))]
    catalog.put(KnownList("crowd"), [*entries(crowd), *stale])
    catalog.put(KnownList("small", Effect.NEGATIVE), entries(altered(MANY[0], 25)[None]))
    (hits,) = catalog.images().near(MANY[:1])
    whole = crowd[np.bitwise_count(crowd).sum(axis=1) >= WHOLE_BITS]
    nearest = sorted(distance(h, MANY[0]) for h in whole)[:MOST_HITS]
    assert [hit.distance for hit in hits] == [*nearest, 25]
    assert hits[-1].effect is Effect.NEGATIVE


def test_no_picture_and_no_clip_of_a_list_is_hidden_by_nearer_frames_of_its_clips(
    catalog: Catalog, small_segments: None
) -> None:
    """A frame that very many clips show, such as a maker's sign, would hide what is listed as a picture."""
    frames = [
        Entry(HashKind.PDQ, altered(MANY[0], n % 3, seed=n).tobytes(), f"{n}", clip=f"c{n // 3}")
        for n in range(3 * (MOST_HITS + 20))
    ]
    whole = [each for each in frames if int.from_bytes(each.hash).bit_count() >= WHOLE_BITS]
    catalog.put(KnownList("both"), [*frames, *entries(altered(MANY[0], 30)[None])])
    (hits,) = catalog.images().near(MANY[:1])
    assert [hit.distance for hit in hits if not hit.clip] == [30]
    clips = [hit.clip for hit in hits if hit.clip]
    assert sorted(clips) == sorted({each.clip for each in whole}) and len(clips) > MOST_HITS


def test_after_any_changes_the_answers_are_those_of_the_lists_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_segments: None
) -> None:
    """Random changes beside a plain dictionary. One reader is kept throughout; nothing tells it of them."""
    monkeypatch.setattr(upkeep, "_CHEAP_ROWS", 60)
    monkeypatch.setattr(upkeep, "_DEAR", 1)
    chance = random.Random(7)
    lists: dict[str, dict[str, int]] = {}
    most = 0
    with Catalog(tmp_path / "known") as catalog:
        images = catalog.images()
        for _ in range(40):
            name = chance.choice("abc")
            chosen = {
                str(chance.randrange(200)): chance.randrange(len(MANY)) for _ in range(chance.choice((2, 25, 25, 90)))
            }
            match chance.choice(("put", "change", "change", "change", "drop", "merge")):
                case "put":
                    catalog.put(KnownList(name), named(chosen))
                    lists[name] = chosen
                case "change" if name in lists:
                    leaving = chance.sample(sorted(lists[name]), len(lists[name]) // 3)
                    catalog.change(name, named(chosen), named(dict.fromkeys(leaving, 0)))
                    kept = {key: at for key, at in lists[name].items() if key not in leaving}
                    lists[name] = kept | chosen
                case "drop" if name in lists:
                    assert catalog.drop(name) == len(lists.pop(name))
                case "merge":
                    catalog.merge()
            asked = chance.sample(range(len(MANY)), 40)
            found = images.near(np.stack([altered(MANY[at], chance.randrange(32)) for at in asked]))
            expected = [{(n, key) for n, on in lists.items() for key, at in on.items() if at == one} for one in asked]
            assert [{(hit.list, hit.entry) for hit in hits} for hits in found] == expected
            most = max(most, len(images.view().index))
            assert catalog.verify() == ()
        folders = {path.name for path in (tmp_path / "known" / upkeep.FOLDER).iterdir()}
        assert folders == {part.folder for part in images.view().parts}, "what was merged away is gone"
        assert most > 2, "there was never more than one segment"


def named(chosen: dict[str, int]) -> Iterable[Entry]:
    return [Entry(HashKind.PDQ, MANY[at].tobytes(), id=key) for key, at in chosen.items()]


def test_small_changes_do_not_pile_up(catalog: Catalog, tmp_path: Path, small_segments: None) -> None:
    catalog.put(KnownList("a"), [])
    for first in range(0, 200, 5):
        catalog.change("a", entries(MANY[first : first + 5], named=False))
    assert len(list((tmp_path / "known" / upkeep.FOLDER).iterdir())) <= 4
    assert all(len(hits) == 1 for hits in catalog.images().near(MANY[:200]))


def test_who_reads_a_list_to_its_end_does_not_hold_up_a_change(tmp_path: Path) -> None:
    with Catalog(tmp_path / "known", wait_s=0.05) as catalog:
        catalog.put(KnownList("a"), entries(MANY[:9]))
        reading = catalog.entries("a")
        first = next(reading)
        catalog.put(KnownList("a"), entries(MANY[100:300]))
        assert len([first, *reading]) == 9, "it reads the list as it was when it began"
        assert len(list(catalog.entries("a"))) == 200


def test_a_reader_never_waits_for_a_writer(catalog: Catalog, tmp_path: Path, small_segments: None) -> None:
    catalog.put(KnownList("a"), entries(MANY[:60]))
    images = catalog.images()
    writer = tables.create(tmp_path / "known", wait_s=1)
    with sqlite_files.writing(writer):
        writer.execute("DELETE FROM entries")
        assert len(images.near(MANY[:1])[0]) == 1 and len(catalog.images().near(MANY[:1])[0]) == 1
        with Catalog(tmp_path / "known", wait_s=0.05) as other, pytest.raises(KnownError, match="another process"):
            other.put(KnownList("b"), [])
    assert images.near(MANY[:1]) == [[]]
    writer.close()


@pytest.mark.parametrize("asked", ["look-up", "verify"])
def test_what_is_merged_away_while_it_is_read_is_no_damage(
    catalog: Catalog, tmp_path: Path, small_segments: None, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    catalog.put(KnownList("a"), entries(MANY[:60]))
    check = segment.check

    def meanwhile(folder: Path, checksums: Mapping[str, int]) -> None:
        monkeypatch.setattr(segment, "check", check)
        with Catalog(tmp_path / "known") as other:
            other.put(KnownList("a"), entries(MANY[60:160]))
        assert not folder.exists()
        check(folder, checksums)

    monkeypatch.setattr(segment, "check", meanwhile)
    if asked == "verify":
        assert catalog.verify() == ()
    else:
        assert [len(hits) for hits in catalog.images().near(MANY[[0, 60]])] == [0, 1]
    assert segment.check is check


def test_what_is_written_anew_while_it_is_looked_up_is_met(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.put(KnownList("a"), entries(MANY[:9]))
    images = catalog.images()
    assert len(images.near(MANY[:1])[0]) == 1
    near = Segment.near

    def meanwhile(self: Segment, queries: Words, wide: Mapping[int, int]) -> Found:
        monkeypatch.setattr(Segment, "near", near)
        with Catalog(tmp_path / "known") as other:
            other.put(KnownList("a"), [replace(entry, expires_s=5000.0) for entry in entries(MANY[:9])])
        return near(self, queries, wide)

    monkeypatch.setattr(Segment, "near", meanwhile)
    assert [[hit.entry for hit in hits] for hits in images.near(MANY[:1])] == [["0"]]
    assert Segment.near is near


def test_lists_of_a_later_version_or_another_program_are_left_alone(catalog: Catalog, tmp_path: Path) -> None:
    catalog.put(KnownList("a"), [])
    writer = tables.create(tmp_path / "known", wait_s=1)
    for change, said in (("user_version = 99", "newer"), ("application_id = 1", "is not a file of known images")):
        writer.execute(f"PRAGMA {change}")
        for work in (catalog.lists, lambda: Catalog(tmp_path / "known").put(KnownList("b"), [])):
            with pytest.raises(KnownUsageError, match=said):
                work()
    writer.close()


def without_ends(connection: sqlite3.Connection) -> None:
    """Take away what the fourth version has."""
    connection.execute("DROP INDEX entries_ending")
    connection.execute("DROP TABLE ended")


def test_lists_of_an_earlier_version_are_read_and_brought_up_to_date(tmp_path: Path) -> None:
    with Catalog(tmp_path) as catalog:
        catalog.put(KnownList("old"), entries(pdqs(3)))
    with closing(sqlite3.connect(tmp_path / tables.FILE, isolation_level=None)) as connection:
        for column in ("circle", "agreeing", "waiting"):
            connection.execute(f"ALTER TABLE lists DROP COLUMN {column}")
        without_ends(connection)
        connection.execute("PRAGMA user_version = 2")
    with Catalog(tmp_path) as catalog:
        assert catalog.lists() == (KnownList("old"),)
        assert catalog.next_end() is None and not catalog.ended("ledger")
        assert len(list(catalog.entries("old"))) == 3
        told = KnownList("old", group="friends", agreeing=2, waiting=True)
        catalog.describe(told)
        assert catalog.lists() == (told,)
        images = catalog.images()
        (hits,) = images.near(pdqs(1))
        images.close()
        assert [(hit.group, hit.agreeing, hit.waiting) for hit in hits] == [("friends", 2, True)]


def absorbed(
    catalog: Catalog, *items: Entry | Withdrawn, after: str = "", to: str = "1", whole: bool = False
) -> set[str]:
    reached = SourceState("theirs", "url", "", checkpoint=to)
    catalog.absorb(KnownList("theirs"), items, lambda: reached, after=after, whole=whole)
    return {entry.id for entry in catalog.entries("theirs")}


def test_what_is_withdrawn_goes_by_the_publishers_clock_else_by_the_order(tmp_path: Path) -> None:
    def entry(number: int, seen_s: float | None) -> Entry:
        return Entry(HashKind.PDQ, MANY[number].tobytes(), id=str(number), seen_s=seen_s)

    with Catalog(tmp_path) as catalog:
        there = absorbed(
            catalog,
            entry(0, 10.0),
            Withdrawn("0", 20.0),
            Withdrawn("1", 20.0),
            entry(1, 10.0),
            entry(2, 30.0),
            Withdrawn("2", 20.0),
            entry(3, None),
            Withdrawn("3", 20.0),
            Withdrawn("4"),
            entry(4, None),
            Entry(HashKind.MD5, bytes(16), id="5"),
            Entry(HashKind.MD5, bytes(16)),
            Withdrawn("5"),
            Withdrawn(kind=HashKind.MD5, hash=bytes(16)),
            Withdrawn("4", kind=HashKind.SHA1),
        )
        assert there == {"2", "4"}
        assert absorbed(catalog, Withdrawn("4"), Withdrawn("9"), after="1", to="2") == {"2"}
        with pytest.raises(KnownError, match="another process fetched it"):
            absorbed(catalog, Withdrawn("2"), after="1", to="2")
        assert absorbed(catalog, entry(5, None), after="2", to="3", whole=True) == {"5"}
        assert [state.checkpoint for state in catalog.sources()] == ["3"]


@pytest.mark.parametrize("taken_back", [False, True])
def test_a_list_of_which_nothing_is_left_does_not_take_the_place_of_one(tmp_path: Path, taken_back: bool) -> None:
    blank, whole = (Entry(HashKind.PDQ, value, "1") for value in (bytes(32), MANY[0].tobytes()))
    given: list[Entry | Withdrawn] = [whole, Withdrawn("1")] if taken_back else [blank]
    with Catalog(tmp_path) as catalog:
        catalog.put(KnownList("mine"), entries(MANY[:3]))
        with pytest.raises(KnownUsageError, match="taken back" if taken_back else "1 refused, fewer than 100"):
            catalog.put(KnownList("mine"), given, some=True)
        assert len(list(catalog.entries("mine"))) == 3
        done = catalog.put(KnownList("mine"), given)
        assert (done.accepted, done.removed, done.withdrawn) == (0, 3, int(taken_back))


def test_lists_of_the_first_version_are_read_and_learn_of_sources_when_they_are_changed(tmp_path: Path) -> None:
    with Catalog(tmp_path) as catalog:
        catalog.put(KnownList("mine"), entries(MANY[:3]))
    with closing(sqlite3.connect(tmp_path / tables.FILE, isolation_level=None)) as connection:
        for column in ("circle", "agreeing", "waiting"):
            connection.execute(f"ALTER TABLE lists DROP COLUMN {column}")
        connection.execute("DROP TABLE sources")
        without_ends(connection)
        connection.execute("PRAGMA user_version = 1")
    with Catalog(tmp_path) as catalog:
        assert (catalog.sources(), [known.name for known in catalog.lists()]) == ((), ["mine"])
        assert absorbed(catalog, Entry(HashKind.PDQ, MANY[5].tobytes(), id="5")) == {"5"}
        assert [state.name for state in catalog.sources()] == ["theirs"]
