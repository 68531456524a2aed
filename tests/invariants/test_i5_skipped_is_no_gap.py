"""I5: what is no media is skipped: listed, counted by reason, and no gap; every other reason is a gap, everywhere."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fedi_safety.core.enums import Reason, Recheck
from fedi_safety.core.errors import ExitCode
from fedi_safety.core.runs import RunReport, Tally, add_tally
from support.corpus.photos import jpeg_bytes
from support.fakes import FakeStore
from support.passes import RED, Bench
from support.program import check_one_line_error, program

NO_MEDIA = {Reason.NOT_MEDIA, Reason.EMPTY, Reason.SYMLINK, Reason.SPECIAL_FILE}
GAPS = set(Reason) - NO_MEDIA


@pytest.mark.sampled(5)
@pytest.mark.parametrize("reason", Reason)
def test_each_reason_stands_on_one_side_in_every_count(tmp_path: Path, reason: Reason) -> None:
    """In the run, in the next one that opens nothing, in the figures, in the list, and for `apply`."""
    store = FakeStore({"good": RED, "odd": RED + b" x"})
    store.failing["odd"] = reason
    bench = Bench(tmp_path / "ledger.db", store)
    here, there = ("skipped", "unscanned") if reason in NO_MEDIA else ("unscanned", "skipped")
    for _ in range(2):  # the second remembers
        tally, _ = bench.scan(dry_run=True, recheck=Recheck.NEVER)
        assert tally.accounted and (tally.listed, tally.judged + tally.already_judged) == (2, 1)
        assert (getattr(tally, here), getattr(tally, there)) == ({reason.value: 1}, {})
        assert RunReport(1, store.url, tally=tally).exit_code == (0 if here == "skipped" else ExitCode.UNSCANNED)
        said = RunReport(1, store.url, tally=tally).as_json()
        assert (said[here], said[there]) == ({reason.value: 1}, {})
    total = Tally()
    for _ in range(2):
        add_tally(total, tally)
    assert total.accounted and getattr(total, here) == {reason.value: 2}
    figures = bench.ledger.figures(store.url).stores[0]
    assert (dict(getattr(figures, here)), dict(getattr(figures, there))) == ({reason.value: 1}, {})
    assert (figures.present, figures.coverage) == (2, 1.0 if here == "skipped" else 0.5)
    assert bench.ledger.store_counts(store.url).unscanned == (here == "unscanned")
    (row,) = bench.rows(state=here)
    assert (row.key, row.state, getattr(row, here), getattr(row, there)) == ("odd", here, reason, None)
    assert bench.rows(state=there) == [] and bench.rows(reason=reason) == [row]
    assert row.detail == "the fake was told to fail"
    tally.take_skipped_as_unscanned()
    assert tally.accounted and (tally.unscanned, tally.skipped) == ({reason.value: 1}, {})
    assert RunReport(1, store.url, tally=tally).exit_code is ExitCode.UNSCANNED
    bench.close()


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    """A healthy server's folder: a picture, and one of each that is none."""
    media = tmp_path / "media"
    media.mkdir()
    (media / "a.jpg").write_bytes(jpeg_bytes("coffee"))
    (media / "export.csv").write_text("a,b")
    (media / "nothing.png").touch()
    os.mkfifo(media / "pipe")
    (media / "link").symlink_to("/etc/passwd")
    return media


EACH = {reason.value: 1 for reason in sorted(NO_MEDIA)}


@pytest.mark.long
def test_a_healthy_server_exits_with_0(healthy: Path) -> None:
    done = program("scan", str(healthy), "--dry-run", "--json")
    assert (done.code, done.json["listed"], done.json["skipped"], done.json["unscanned"]) == (0, 5, EACH, {})
    old = program("scan", str(healthy), "--dry-run", "--json", "--skipped-as-unscanned")
    assert (old.code, old.json["listed"], old.json["skipped"], old.json["unscanned"]) == (1, 5, {}, EACH)
    found = program("report", "--json").json
    for figures in (found["totals"], found["stores"][0]):
        assert (figures["coverage"], figures["skipped"], figures["unscanned"]) == (1.0, EACH, {})
    assert {name: found["runs"][0]["summary"][name] for name in ("skipped", "unscanned")} == {
        "skipped": EACH, "unscanned": {},
    }  # fmt: skip
    found = program("report", "--json", "--skipped-as-unscanned").json
    assert (found["totals"]["coverage"], found["totals"]["unscanned"]) == (0.2, EACH)
    for reason, name in zip(EACH, ("nothing.png", "export.csv", "pipe", "link"), strict=True):
        (row,) = program("list", "--skipped", reason, "--json").lines
        assert (row["key"], row["state"], row["skipped"], row["unscanned"]) == (name, "skipped", reason, None)
    lines = program("list", "--state", "skipped").out.splitlines()
    assert "\tpipe\tskipped (special_file)\t" in "\n".join(lines)
    assert len(lines) == 4 and program("list", "--state", "unscanned").out == ""
    assert "skipped, not_media" in program("show", "export.csv").out


@pytest.mark.long
def test_a_healthy_server_is_watched_with_0(healthy: Path) -> None:
    act = ("--act", "report", "--once")
    for more, code, counts in (((), 0, (0, 4)), (("--skipped-as-unscanned",), 1, (4, 0))):
        watched = program("watch", str(healthy), *act, *more)
        assert watched.code == code, watched
        assert f"{counts[0]} unscanned, {counts[1]} skipped" in watched.out


@pytest.mark.long
def test_a_damaged_picture_is_a_gap_beside_them(healthy: Path) -> None:
    (healthy / "half.jpg").write_bytes(jpeg_bytes("china")[:300])
    done = program("scan", str(healthy), "--dry-run")
    assert done.code == 1
    table = {line.split()[0]: line for line in done.out.splitlines()}
    assert "50.0 % of the media have a verdict" in table["listed"]
    assert table["skipped"].split()[1] == "4" and "1 not_media" in table["skipped"]
    assert table["unscanned"].split()[1:] == ["1", "1", "truncated"]
    told = program("report").out
    assert "coverage 50.0 %: 1 object has no verdict: 1 truncated; 4 objects skipped, no media" in " ".join(
        told.split()
    )


def test_a_reason_of_the_other_side_is_refused_with_the_option_that_has_it() -> None:
    check_one_line_error(program("list", "--unscanned", "symlink"), 2, "--skipped symlink")
    check_one_line_error(program("list", "--skipped", "corrupt"), 2, "--unscanned corrupt")
    check_one_line_error(program("list", "--skipped", "empty", "--unscanned", "corrupt"), 2, "one of them")
    check_one_line_error(program("list", "--state", "odd"), 2, "skipped", "gone")


def test_an_old_ledger_is_read_by_the_same_rule(tmp_path: Path) -> None:
    """What the first versions wrote: the reason beside the state `unscanned`. That is how it is still written."""
    store = FakeStore({"a": b"text"})
    bench = Bench(tmp_path / "ledger.db", store)
    bench.scan(dry_run=True)
    bench.close()
    with closing(sqlite3.connect(bench.path)) as base:
        assert base.execute("SELECT state, reason FROM objects").fetchall() == [("unscanned", "not_media")]
