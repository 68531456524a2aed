"""A store's keys in parts: every key in one of them, whatever the cuts; about one size each, from few requests."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedi_safety.core.enums import Reason
from fedi_safety.core.keys import KeyRange, key_bytes
from fedi_safety.core.types import Unscanned
from fedi_safety.stores.cutting import cut_by_names, cut_by_samples
from fedi_safety.stores.local import LocalStore
from fedi_safety.stores.s3.pictrs_keys import key_before, time_of

KEYS = st.binary(min_size=1, max_size=4).map(lambda key: bytes(b"ab/c"[byte % 4] for byte in key))
WHOLE = KeyRange()


@given(st.lists(KEYS, max_size=8), KEYS, KEYS, KEYS)
def test_every_key_lies_in_one_part_and_beneath_what_reaches_it(
    cuts: Sequence[bytes], after: bytes, until: bytes, key: bytes
) -> None:
    for whole in (WHOLE, KeyRange(after), KeyRange(None, until), KeyRange(after, until)):
        parts = whole.parted(cuts)
        assert sum(part.holds(key) for part in parts) == whole.holds(key) or whole.until == whole.after
        for part in parts:
            above = [key[: at + 1] for at, byte in enumerate(key) if byte == ord("/")]
            assert not part.holds(key) or all(part.reaches(directory) for directory in above)


def names_of(keys: Sequence[bytes], asked: list[bytes]) -> object:
    def names(directory: bytes) -> set[bytes]:
        asked.append(directory)
        beneath = (key[len(directory) :] for key in keys if key.startswith(directory))
        return {directory + name[: name.find(b"/") + 1 or None] for name in beneath}

    return names


def sizes(keys: Sequence[bytes], cuts: Sequence[bytes]) -> list[int]:
    """Return how many keys lie in each part."""
    counted = Counter(next(at for at, part in enumerate(WHOLE.parted(cuts)) if part.holds(key)) for key in keys)
    return [counted[at] for at in range(len(cuts) + 1)]


def test_directories_part_a_tree_evenly_with_few_requests() -> None:
    keys = [f"media/{n % 100:02}/{n:05}.png".encode() for n in range(5000)]
    asked: list[bytes] = []
    cuts = cut_by_names(names_of(keys, asked), WHOLE, 15)  # type: ignore[arg-type]
    assert len(cuts) == 15 and len(asked) <= 32
    assert max(sizes(keys, cuts)) <= 2 * len(keys) / 16


@pytest.mark.parametrize("shape", ["{:064x}", "files/{:032x}.webp", "{:x}"])
def test_samples_part_what_has_no_directories(shape: str) -> None:
    draw = Random(7)
    keys = sorted(shape.format(draw.getrandbits(128)).encode() for _ in range(4000))
    asked = 0

    def following(after: bytes) -> bytes | None:
        nonlocal asked
        asked += 1
        at = bisect_right(keys, after)
        return keys[at] if at < len(keys) else None

    cuts = cut_by_samples(following, WHOLE, 15)
    assert asked <= 64 and len(cuts) >= 10
    assert max(sizes(keys, cuts)) <= len(keys) / 3
    inner = KeyRange(keys[1000], keys[3000])
    assert all(inner.holds(cut) for cut in cut_by_samples(following, inner, 4))


@pytest.mark.parametrize("keys", [[], [b"one"], [b"same/a", b"same/b"]])
def test_there_may_be_next_to_nothing_to_part(keys: list[bytes]) -> None:
    def following(after: bytes) -> bytes | None:
        return next((key for key in keys if key > after), None)

    for cuts in (cut_by_samples(following, WHOLE, 7), cut_by_names(names_of(keys, []), WHOLE, 7)):  # type: ignore[arg-type]
        assert sum(sizes(keys, cuts)) == len(keys)


def test_a_key_by_time_says_when_it_was_made() -> None:
    key = "01/8d/0a/1b/2c/3d/70/00/80/00/0123456789ab.webp"
    assert time_of(key) == 0x018D0A1B2C3D / 1000
    assert key_before(time_of(key) or 0) < key
    assert time_of("avatars/1.png") is None


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[LocalStore]:
    draw = Random(21)
    for _ in range(300):
        path = tmp_path.joinpath(*(draw.choice("abc-.~") * draw.randint(1, 2) + "x" for _ in range(draw.randint(1, 4))))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        except OSError:
            continue  # one of its folders is a file
    store = LocalStore(str(tmp_path))
    yield store
    store.close()


def test_parts_of_a_tree_are_the_whole_wherever_it_is_cut(tree: LocalStore) -> None:
    whole = list(tree.list())
    draw = Random(4)
    for _ in range(20):
        ends = [key_bytes(draw.choice(whole).key) for _ in range(5)]  # type: ignore[union-attr]
        ends += [end[: draw.randint(1, len(end))] for end in ends]
        assert [item for part in WHOLE.parted(ends) for item in tree.list_within(part)] == whole


def test_a_directory_that_fails_is_told_by_every_part_with_keys_beneath_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a/x", "b/1", "b/2", "c/x"):
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(b"")
    store = LocalStore(str(tmp_path))
    opened = store._open_dir

    def refused(key: bytes) -> int:
        if key == b"b/":
            raise PermissionError(13, "Permission denied")
        return opened(key)

    monkeypatch.setattr(store, "_open_dir", refused)
    gaps = [[i for i in store.list_within(part) if isinstance(i, Unscanned)] for part in WHOLE.parted([b"a/x", b"b/1"])]
    assert [[gap.reason for gap in part] for part in gaps] == [[], [Reason.UNREADABLE], [Reason.UNREADABLE]]
    store.close()
