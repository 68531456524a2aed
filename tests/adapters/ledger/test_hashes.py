"""What contents are found again by, in the ledger: kept once, read by the page as arrays, never another content's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.known.packing import packed
from fedi_safety.core.ledger.hashes import HashCounts
from fedi_safety.core.types import Content, Hashes, Judged, Judgement, Object, PictureHash, Scores, Signal
from fedi_safety.ledger.known import hashes
from fedi_safety.ledger.ledger import SqlLedger
from support.ledgers import Opener, make_older, opened_at

STORE = "file:///srv/media"


@pytest.fixture
def ledger(opener: Opener) -> SqlLedger:
    return opener()


def sha(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def made(key: str, pictures: int = 1) -> Hashes:
    own = tuple(PictureHash(i, 90 + i, sha(f"{key} {i}")) for i in range(pictures))
    return Hashes(hashlib.sha1(key.encode()).digest(), hashlib.md5(key.encode()).digest(), own)


def judged(key: str, found: Hashes | None, value: float = 0.1) -> Judged:
    content = Content(sha(key), 9, MediaType.PNG, 640, 480, 1, Scores({"a": Signal(value)}, {"b": "1"}), hashes=found)
    return Judged(Object(key, 9, 1), content, Judgement(Verdict.CLEAR, (), (), "p"))


def record(ledger: SqlLedger, *items: Judged) -> None:
    ledger.record(ledger.begin_run("scan", STORE, {}), STORE, items)


def pictures(ledger: SqlLedger, after: int = 0) -> list[tuple[bytes, int, int, bytes]]:
    found = []
    for page in ledger.picture_pages(after):
        names = ledger.numbered([int(number) for number in page.contents])
        rows = zip(page.contents, page.frames, page.qualities, page.hashes, strict=True)
        found += [(names[int(number)], int(frame), int(quality), row.tobytes()) for number, frame, quality, row in rows]
    return found


def test_what_a_scan_hashed_is_kept_and_read(ledger: SqlLedger) -> None:
    record(ledger, judged("a", made("a", 2)), judged("b", None), judged("c", made("c", 0)))
    assert ledger.hashes_of([sha("a"), sha("b"), sha("c"), sha("d")]) == {
        sha("a"): made("a", 2),
        sha("c"): made("c", 0),
    }
    assert ledger.hash_counts() == HashCounts(3, 2)
    assert pictures(ledger) == [(sha("a"), i, 90 + i, sha(f"a {i}")) for i in range(2)]
    (page,) = ledger.bytes_pages()
    names = ledger.numbered([int(number) for number in page.contents])
    rows = {
        names[int(n)]: (bool(h), s.tobytes(), m.tobytes())
        for n, h, s, m in zip(page.contents, page.hashed, page.sha1, page.md5, strict=True)
    }
    assert rows[sha("a")] == (True, made("a").sha1, made("a").md5)
    assert rows[sha("b")] == (False, bytes(20), bytes(16))
    assert {row.tobytes() for row in page.sha256} == {sha(key) for key in "abc"}


def test_another_reading_takes_their_place_and_one_without_takes_nothing_back(ledger: SqlLedger) -> None:
    record(ledger, judged("a", made("a", 3)))
    record(ledger, judged("a", None, 0.2))
    assert ledger.hashes_of([sha("a")]) == {sha("a"): made("a", 3)}
    record(ledger, judged("a", made("a", 1), 0.2))
    assert ledger.hashes_of([sha("a")]) == {sha("a"): made("a", 1)}


def test_pages_leave_nothing_out(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "_PICTURES", hashes._PICTURES.limit(2))
    monkeypatch.setattr(hashes, "_BYTES", hashes._BYTES.limit(2))
    keys = [str(i) for i in range(7)]
    record(ledger, *(judged(key, made(key, int(key) % 3)) for key in keys))
    expected = [(sha(key), i, 90 + i, sha(f"{key} {i}")) for key in keys for i in range(int(key) % 3)]
    assert pictures(ledger) == expected
    pages = list(ledger.bytes_pages())
    assert [len(page.contents) for page in pages] == [2, 2, 2, 1]
    third = int(pages[1].contents[0])
    assert pictures(ledger, third) == [row for row in expected if row[0] not in {sha(key) for key in keys[:3]}]


@pytest.mark.parametrize("broken", [b"", b"x", b"y" * 36, b"z" * 38])
def test_a_row_that_was_damaged_is_no_hash_of_anything(broken: bytes) -> None:
    whole = packed(made("a", 2).pictures)
    page = hashes.picture_page([(1, broken), (2, whole)])
    assert page.contents.tolist() == [2, 2] and page.hashes.shape == (2, 32) and page.hashes.dtype == np.uint8


def test_a_ledger_of_before_has_contents_that_are_not_hashed(tmp_path: Path) -> None:
    """Older ledgers are files: nothing else kept one then."""
    path = tmp_path / "ledger.db"
    with opened_at(path) as opener:
        ledger = opener()
        record(ledger, judged("a", None))
        ledger.dispose()
        make_older(path, "0015")
        again = opener()
        assert again.hash_counts() == HashCounts(1, 0)
        (page,) = again.bytes_pages()
        assert page.hashed.tolist() == [False] and page.sha256.tobytes() == sha("a")


def test_asking_writes_nothing(ledger: SqlLedger) -> None:
    record(ledger, judged("a", made("a")))
    before = ledger.verify().head
    asked: Sequence[object] = [pictures(ledger), list(ledger.bytes_pages()), ledger.hash_counts()]
    assert len(asked) == 3 and ledger.verify().head == before
