"""The index: whatever is within the distance is found, however the bits are spread, and nothing else is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fedi_safety.core.known.types import TURNS
from fedi_safety.known.index import join, search, segment
from fedi_safety.known.index.chunks import CHUNKS, HALF_REACH, RADIUS, REACH, Layout, Numbers, Words, layout, words
from fedi_safety.known.index.search import Found, Halves, halves, one_by_one, ranges
from fedi_safety.known.index.turned import BACK, turned
from support.known import Hashes, altered, distance, flipped, pdqs

MANY = pdqs(3_000)
DISTANCES = [number % 35 for number in range(140)]
QUERIES = np.stack([altered(MANY[number], bits, seed=number) for number, bits in enumerate(DISTANCES)])


def pairs(found: Found) -> set[tuple[int, int, int]]:
    return set(map(tuple, np.stack(found, axis=1).tolist()))


def near(index: segment.Segment, queries: Hashes, wide: dict[int, int] | None = None) -> set[tuple[int, int, int]]:
    """What an index finds within the distance that it promises, or a list's own."""
    most = max(RADIUS, *(wide or {0: 0}).values())
    return {pair for pair in pairs(index.near(words(queries), wide or {})) if pair[2] <= most}


def plain(many: Hashes, queries: Hashes, within: int) -> set[tuple[int, int, int]]:
    """The same by the shortest way there is."""
    bits = np.bitwise_count(queries[:, None] ^ many[None]).sum(axis=2, dtype=np.int64)
    return {(q, r, int(bits[q, r])) for q, r in np.argwhere(bits <= within).tolist()}


def stored(folder: Path, many: Hashes) -> segment.Segment:
    rows = np.arange(len(many))
    name, _ = segment.write(folder, rows + 1, np.ones_like(rows), words(many))
    return segment.read(folder / name)


@pytest.mark.parametrize("rows", [1, 1_000, 60_000, 1 << 20])
def test_bits_spread_as_evenly_as_can_be_are_met_in_some_chunk(rows: int) -> None:
    """One chunk differs by its radius and every other by one more: 31 bits in the worst order there is."""
    cut = layout(rows)
    dropped = 22 - int(cut.values[0]).bit_length()
    radii = [int(np.bitwise_count(cut.neighbours(chunk)).max()) for chunk in range(CHUNKS)]
    for least in range(CHUNKS):
        places = []
        for chunk, radius in enumerate(radii):
            first = int(cut.shift[chunk])
            bits = range(first, first + radius + (chunk != least))
            places += [_place(int(cut.word[chunk]), bit) for bit in bits]
        other = flipped(MANY[0], places)
        assert distance(MANY[0], other) == RADIUS, f"{dropped} bits left out"
        assert np.isin(own(cut, other), cut.keys(words(MANY[:1]))).any()


def _place(word: int, bit: int) -> int:
    """Where a bit of a little-endian word is among the bits of a hash."""
    return word * 64 + bit // 8 * 8 + 7 - bit % 8


def counted(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[int]:
    """Return what grows by the number of pairs that `module` takes in hand each time."""
    looked_at: list[int] = []

    def spy(starts: Numbers, lengths: Numbers, ends: Numbers | None = None) -> Numbers:
        looked_at.append(int(lengths.sum()))
        return ranges(starts, lengths, ends)

    monkeypatch.setattr(module, "ranges", spy)
    return looked_at


def own(cut: Layout, one: Hashes) -> list[int]:
    """The buckets that a hash itself is in."""
    return [int(cut.base[chunk] + cut.of_chunk(words(one[None]), chunk)[0]) for chunk in range(CHUNKS)]


def test_a_look_up_is_what_comparing_with_every_row_is(tmp_path: Path) -> None:
    expected = plain(MANY, QUERIES, RADIUS)
    assert len(expected) == sum(bits <= RADIUS for bits in DISTANCES)
    assert near(stored(tmp_path, MANY), QUERIES) == expected
    assert pairs(one_by_one(halves(words(MANY)), words(QUERIES), RADIUS)) == expected


def is_told(one: Hashes, other: Hashes) -> bool:
    """Whether the first half is near and a chunk: of a word's bits 22 or the next 21 within 2, or 21 within 1."""
    bits = np.unpackbits((one ^ other).reshape(4, 8)[:, ::-1], axis=1)[:, ::-1]  # of a word the lowest first
    parts = bits[:, :22].sum(axis=1), bits[:, 22:43].sum(axis=1), bits[:, 43:].sum(axis=1)
    if distance(one[:16], other[:16]) > HALF_REACH:
        return False
    return bool((parts[0] <= 2).any() or (parts[1] <= 2).any() or (parts[2] <= 1).any())


def test_farther_off_whatever_shares_a_chunk_is_told_of_in_every_layout(tmp_path: Path) -> None:
    """In a file, before it is in one, and where so many share a chunk that all are looked at one by one."""
    spread = [
        _place(word, first + bit) for word in range(4) for first in (0, 22, 43) for bit in range(3 - (first == 43))
    ]
    queries = np.stack([altered(MANY[number], 32 + number % 18, seed=number) for number in range(40)])
    queries[::4] = [flipped(MANY[number], spread) for number in range(0, 40, 4)]
    queries[1::4] = [flipped(MANY[number], list(range(40))) for number in range(1, 40, 4)]
    expected = {
        (q, r, bits) for q, r, bits in plain(MANY, queries, REACH) if bits <= RADIUS or is_told(MANY[r], queries[q])
    }
    assert {q for q, *_ in expected} <= {*range(2, 40, 4), *range(3, 40, 4)} and len(expected) > 15
    rows = np.arange(len(MANY))
    indices = stored(tmp_path, MANY), segment.loose(rows, np.ones_like(rows), words(MANY))
    assert [pairs(index.near(words(queries), {})) for index in indices] == [expected, expected]
    crowd = np.concatenate([MANY, np.repeat(MANY[:1], 9_000, axis=0)])
    crowd[len(MANY) :, 8:] = pdqs(9_000, seed=8)[:, 8:]
    asked = queries[:20]
    met = {pair for pair in pairs(stored(tmp_path, crowd).near(words(asked), {})) if pair[1] < len(MANY)}
    assert met == {pair for pair in expected if pair[0] < 20}


def test_lists_of_a_wider_distance_are_compared_as_a_whole(tmp_path: Path) -> None:
    rows = np.arange(len(MANY))
    name, _ = segment.write(tmp_path, rows, np.where(rows < 100, 7, 1), words(MANY))
    found = segment.read(tmp_path / name).near(words(QUERIES), {7: 40})
    narrow, wide = plain(MANY, QUERIES, RADIUS), {p for p in plain(MANY, QUERIES, 40) if p[1] < 100}
    assert {pair for pair in pairs(found) if pair[1] < 100 or pair[2] <= RADIUS} == narrow | wide
    assert len(pairs(found)) == len(found.row), "each once"
    assert wide - narrow


_CUT = """
import sys
from pathlib import Path
import numpy as np
from fedi_safety.core.errors import KnownError
from fedi_safety.known.index import segment
from fedi_safety.known.index.chunks import words
from support.known import pdqs
many = pdqs(6_000)
rows = np.arange(len(many))
folder = Path(sys.argv[1])
name, _ = segment.write(folder, rows + 1, np.ones_like(rows), words(many))
opened = segment.read(folder / name)
assert len(opened.near(words(many[:1]), {}).row) == 1
path = folder / name / f"{sys.argv[2]}.npy"
with path.open("r+b") as file:
    file.truncate(100)
for ask in (lambda: opened.near(words(many[4_000:4_010]), {}), lambda: segment.read(folder / name)):
    try:
        ask()
    except KnownError as error:
        print(error.line())
"""


@pytest.mark.parametrize("file", segment._FILES)
def test_a_file_that_is_cut_short_while_it_is_mapped_is_said_and_kills_nobody(tmp_path: Path, file: str) -> None:
    command = [sys.executable, "-c", _CUT, str(tmp_path), file]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=here)
    assert done.returncode == 0, (done.returncode, done.stderr)
    cut, damaged = done.stdout.splitlines()
    assert "was cut short while it was in use" in cut and file in cut and "is damaged" in damaged


def test_what_is_merged_away_while_it_is_mapped_is_looked_up_as_before(tmp_path: Path) -> None:
    opened = stored(tmp_path, MANY)
    shutil.rmtree(next(tmp_path.iterdir()))
    assert near(opened, QUERIES) == plain(MANY, QUERIES, RADIUS)


def test_entries_that_crowd_a_chunk_are_never_dearer_than_brute_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows share one chunk with the query. What is looked at is bounded, and the answer is the same."""
    crowd = pdqs(20_000, seed=3)
    crowd[:, :8] = MANY[0, :8]  # three chunks of every row
    crowd[5] = altered(MANY[0], 20)
    index = stored(tmp_path, crowd)
    looked_at = counted(monkeypatch, search)
    queries = np.stack([MANY[0], MANY[1]])
    assert near(index, queries) == plain(crowd, queries, RADIUS) != set()
    assert sum(looked_at) <= len(queries) * len(crowd)


def all_pairs(listed: Hashes, many: Hashes, distance: int) -> set[tuple[int, int, int, int]]:
    """Return every pair within a distance in any turn, found by comparing: one of many, one listed, bits, the turn."""
    ways = turned(listed)
    return {
        (row, q, bits, turn) for turn in range(len(TURNS)) for q, row, bits in plain(many, ways[BACK[turn]], distance)
    }


@pytest.mark.parametrize("few", [3, 300])
def test_a_join_is_what_comparing_all_pairs_in_every_turn_is(few: int) -> None:
    listed, many = QUERIES[:few] if few < 100 else np.concatenate([QUERIES, pdqs(few, seed=9)]), MANY.copy()
    ways = turned(listed)
    for number in range(400):
        turn, some = number % len(TURNS), number // len(TURNS) % len(listed)
        many[number] = altered(ways[turn, some], number % 45)
    within = np.array([(0, 15, 31, 31, 40)[number % 5] for number in range(len(listed))])
    met = join.Joiner(listed, within).meet(words(many))
    found = list(zip(*(column.tolist() for column in met), strict=True))
    expected = {pair for pair in all_pairs(listed, many, 40) if pair[2] <= within[pair[1]]}
    assert len(found) == len(expected) and set(found) == expected
    assert {turn for *_, turn in expected} == set(range(len(TURNS)))


def test_a_list_made_to_crowd_a_join_is_never_dearer_than_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    listed, many = pdqs(100, seed=5), MANY[:100].copy()
    listed[:, :28] = many[:, :28] = MANY[0, :28]
    looked_at = counted(monkeypatch, join)
    compared: list[int] = []

    def spy(many: Halves, few: Words, within: int) -> Found:
        compared.append(len(few))
        return one_by_one(many, few, within)

    monkeypatch.setattr(join, "one_by_one", spy)
    met = join.Joiner(listed, np.full(len(listed), RADIUS)).meet(words(many))
    found = set(zip(*(column.tolist() for column in met), strict=True))
    assert found == all_pairs(listed, many, RADIUS) != set()
    assert compared == [len(listed) * len(TURNS)]
    assert sum(looked_at) <= len(listed) * len(TURNS) * len(many)
