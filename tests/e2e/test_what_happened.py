"""What is asked afterwards: what was removed this week, what one file would get, what a policy would change."""

from __future__ import annotations

import csv
import io
import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fedi_safety.core.testcard import draw_test_card
from support.corpus.photos import jpeg_bytes
from support.program import FACES, TYPED, check_one_line_error, program

DAY = 86_400


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A scanned folder: one picture, one that was removed, one that was dismissed, and one that is no media."""
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    (folder / "card.png").write_bytes(draw_test_card())
    (folder / "a.csv").write_text("a,b")
    done = program("scan", str(folder), "--act", "delete", "--without-dry-run", "--json")
    assert (done.code, done.json["acted"]) == (0, 1), done
    assert program("dismiss", "coffee.jpg").code == 0
    return folder


def ledger_file() -> Path:
    return Path(os.environ["HOME"]) / ".local/share/fedi-safety/ledger.db"


def a_week_earlier() -> None:
    """Let everything that the ledger remembers have happened eight days ago."""
    columns = {
        "runs": ("started_at", "ended_at"), "objects": ("first_seen", "judged_at"), "judgements": ("at",),
        "acts": ("started_at", "closed_at"), "plans": ("created_at", "updated_at"), "events": ("at",),
    }  # fmt: skip
    with closing(sqlite3.connect(ledger_file())) as base, base:
        for table, names in columns.items():
            base.execute(f"UPDATE {table} SET {', '.join(f'{name} = {name} - {8 * DAY}' for name in names)}")


def narrow(text: str, store: str) -> None:
    """No line is wider than a terminal, but for one that holds a store's name or a command, which are not broken."""
    for line in text.splitlines():
        assert len(line) <= 80 or store in line or f"{TYPED} " in line or line.startswith("ledger: "), line


@pytest.mark.long
def test_what_was_removed_this_week_is_listed_with_times(media: Path) -> None:
    began = time.time()
    (row,) = program("list", "--since", "7d", "--state", "removed", "--json").lines
    assert row["key"] == "card.png" and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["at"])
    assert row["judged_at"] <= row["at"] <= time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(began))
    cells = [line.split("\t") for line in program("list").out.splitlines()]
    assert {len(line) for line in cells} == {5}
    assert {(line[1], line[4]) for line in cells} == {
        (key, media.as_uri()) for key in ("coffee.jpg", "card.png", "a.csv")
    }
    a_week_earlier()
    assert program("list", "--since", "7d").out == "" and len(program("list", "--since", "9d").out.splitlines()) == 3
    check_one_line_error(program("list", "--since", "soon"), 2, "--since soon", "7d")


@pytest.mark.long
def test_a_report_of_a_week_is_short_and_fits_a_mail(media: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = program("report", "--since", "7d", "--html", str(page))
    assert done.code == 0
    narrow(done.out, media.as_uri())
    said = {line.split()[0]: line.split()[1:] for line in done.out.splitlines() if line[:1].isalpha()}
    assert said["condemned"] == ["1", "1", "test", "card"]
    assert (said["removed"], said["dismissed"], said["judged"], said["runs"]) == (["1"], ["1"], ["2"], ["1"])
    assert "coverage 100.0 %: all media have a verdict; 1 object skipped, no media" in done.out
    assert f"{TYPED} list --since 7d --state removed" in done.out
    text = "".join(ElementTree.fromstring(page.read_text("utf-8").removeprefix("<!DOCTYPE html>\n")).itertext())
    assert "What happened" in text and "1 test card" in text
    counts = {
        "runs": 1,
        "judged": 2,
        "condemned": 1,
        "removed": 1,
        "failed": 0,
        "gone": 0,
        "dismissed": 1,
        "restored": 0,
    }
    period = program("report", "--since", "7d", "--json").json["period"]
    assert {name: period[name] for name in counts} == counts and period["rules"] == {"test card": 1}
    rows = list(csv.reader(io.StringIO(program("report", "--since", "7d", "--csv").out)))
    assert ["", "period removed", "", "1"] in rows and ["", "period rules", "test card", "1"] in rows
    a_week_earlier()
    later = program("report", "--since", "7d", "--json").json
    assert (later["period"]["removed"], later["period"]["runs"], later["totals"]["removed"]) == (0, 0, 1)
    assert program("report", "--json").json["period"] is None


@pytest.mark.long
def test_the_history_goes_by_day(media: Path) -> None:
    a_week_earlier()
    assert program("scan", str(media)).code == 0
    found = program("history", str(media), "--json").json
    (first, then), (last, now) = found["days"].items()
    assert first < last and (then["removed"], then["dismissed"], now["runs"], now["removed"]) == (1, 1, 1, 0)
    assert found["total"]["runs"] == 2 and found["rules"] == {"test card": 1}
    shown = program("history")
    narrow(shown.out, media.as_uri())
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[0] == ["day", "runs", "judged", "condemned", "removed", "failed", "gone", "dismissed"]
    assert [line[0] for line in lines[1:4]] == [first, last, "in"] and lines[1] == [first, "1", "2", "1", "1", "1"]
    assert "nothing happened" in program("history", "--since", "2099-01-01").out
    check_one_line_error(program("history", "/no/such/store"), 2, "no such")


# --- one file


@pytest.mark.long
def test_one_file_is_tried_and_nothing_is_written(tmp_path: Path) -> None:
    faces = tmp_path / "faces.toml"
    faces.write_text(FACES)
    picture = tmp_path / "portrait.jpg"
    picture.write_bytes(jpeg_bytes("astronaut"))
    home = Path(os.environ["HOME"])
    before = sorted(home.rglob("*"))
    done = program("try", str(picture), "--policy", str(faces))
    assert done.code == 0, done
    assert done.out.splitlines()[0] == f"{picture}: block"
    assert re.search(r"^  holds  a face\n +face 0\.\d\d >= 0\.5 \(face\.present\)$", done.out, re.MULTILINE)
    assert "face: face, " in done.out and "what was found (how certain" in done.out
    assert "  -      explicit\n           needs sexual >= 0.9\n           gives label nsfw\n" in done.out
    found = program("try", picture.as_uri(), "--policy", str(faces), "--json").json
    assert (found["store"], found["key"], found["verdict"]) == (tmp_path.as_uri(), "portrait.jpg", "block")
    assert set(found["signals"]) >= {"face.present", "nsfw.open_nsfw"} and found["unmeasured"] == []
    assert found["explanation"]["rests_on"][0]["factor"] == "face"
    assert [(rule["rule"], rule["holds"]) for rule in found["rules"]] == [("a face", True), ("explicit", False)]
    for signal in found["signals"]:
        assert signal in done.out, "every signal is shown"
    assert sorted(home.rglob("*")) == before and picture.exists(), "no ledger is made"


@pytest.mark.long
def test_what_cannot_be_tried_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b")
    (tmp_path / "half.jpg").write_bytes(jpeg_bytes("china")[:300])
    (tmp_path / "link.jpg").symlink_to("half.jpg")
    for name, code, words in (
        ("a.csv", 0, "skipped, for it is no media: not_media"),
        ("link.jpg", 0, "skipped, for it is no media: symlink"),
        ("half.jpg", 1, "no verdict: truncated"),
    ):
        done = program("try", str(tmp_path / name))
        assert done.code == code and words in done.out, done
    half = program("try", str(tmp_path / "half.jpg"), "--json").json
    assert (half["verdict"], half["skipped"], half["unscanned"]) == (None, None, "truncated")
    check_one_line_error(program("try", str(tmp_path / "none.jpg")), 2, "no such file")
    check_one_line_error(program("try", str(tmp_path)), 2, "no such file", "URL of an object")
    check_one_line_error(program("try", "ftp://host/x"), 2, "no ftp:// stores")
    check_one_line_error(program("try", "s3://"), 2, "names no object")


@pytest.mark.long
def test_one_file_is_scanned_alone_as_an_object_of_its_store(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    (folder / "ab").mkdir(parents=True)
    card = draw_test_card()
    for name in ("ab/x.png", "ab/x.png.bak", "y.png"):
        (folder / name).write_bytes(card)
    alone = program("scan", str(folder / "ab/x.png"), "--dry-run", "--json")
    assert (alone.code, alone.json["listed"], alone.json["planned"]) == (0, 1, 1), alone
    assert [row["store"] for row in program("list", "--json").lines] == [(folder / "ab").as_uri()]
    check_one_line_error(program("scan", str(folder / "ab/x.png"), "--prefix", "x"), 2, "--prefix")
    check_one_line_error(program("scan", str(folder / "ab/x.png"), "--act", "delete"), 2, "no complete dry run")
    ledger_file().unlink()
    assert program("scan", str(folder), "--dry-run", "--act", "delete").code == 0  # now its store is known
    done = program("scan", str(folder / "ab/x.png"), "--json")
    assert (done.code, done.json["listed"], done.json["acted"]) == (0, 1, 1), done
    assert sorted(p.name for p in folder.rglob("*.*")) == ["x.png.bak", "y.png"]
    (row,) = program("list", "--state", "removed", "--json").lines
    assert (row["store"], row["key"]) == (folder.as_uri(), "ab/x.png")


# --- what a policy would change


@pytest.mark.long
def test_a_preview_can_name_the_objects(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    for name in ("one.jpg", "two.jpg"):
        (folder / name).write_bytes(jpeg_bytes("astronaut"))
    (folder / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    policy = tmp_path / "faces.toml"
    policy.write_text(FACES)
    program("scan", str(folder), "--dry-run", "--policy", str(policy), "--no-cascade")
    without = FACES[: FACES.index("[[rules]]")] + FACES[FACES.rindex("[[rules]]") :]
    # By a rule that says less of what it holds for, and without any rule that holds.
    for then, text in (("review", FACES.replace('"block"', '"review"')), ("clear", without)):
        policy.write_text(text)
        plain = program("policy", "preview", str(policy)).out
        named = program("policy", "preview", str(policy), "--objects").out
        assert named.endswith(plain)
        changed = {tuple(line.split("\t")) for line in named.removesuffix(plain).splitlines()}
        assert changed == {("block", then, name, folder.as_uri()) for name in ("one.jpg", "two.jpg")}
        *rows, last = program("policy", "preview", str(policy), "--objects", "--json").lines
        assert {(row["from"], row["to"], row["key"]) for row in rows} == {row[:3] for row in changed}
        assert last["objects"] == 3
