"""The main job, as an administrator does it: dry run, report, apply; scan again; follow up; start over."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from fedi_safety.core.testcard import TEST_CARD_SHA256, draw_test_card
from support.corpus.photos import jpeg_bytes, picture
from support.program import FACES, FIRST, check_one_line_error, command, digests, program

JSON_FIELDS = [
    "listed", "judged", "already_judged", "skipped", "unscanned", "clear", "review", "block",
    "partly", "planned", "acted", "gone", "failed",
    "frames", "bytes", "seconds", "images_per_second", "device", "detectors", "policy", "ledger", "run_id",
]  # fmt: skip
ROW_FIELDS = [
    "store",
    "key",
    "state",
    "verdict",
    "labels",
    "reasons",
    "signals",
    "skipped",
    "unscanned",
    "partly",
    "act",
    "at",
    "judged_at",
    "sha256",
]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder as an instance has it: pictures, one that the stand-in policy condemns, and things that are no media."""
    folder = tmp_path / "media"
    (folder / "ab/cd").mkdir(parents=True)
    (folder / "ab/portrait.jpg").write_bytes(jpeg_bytes("astronaut"))
    (folder / "ab/cd/same-portrait.bin").write_bytes(jpeg_bytes("astronaut"))
    (folder / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    (folder / "cat, misnamed.csv").write_bytes(jpeg_bytes("chelsea"))
    picture("rocket").save(folder / "rocket.webp")
    (folder / "export.csv").write_text("a,b\n1,2\n")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "half.jpg").write_bytes(jpeg_bytes("china")[:300])
    (folder / "page.jpg").write_text("<html><body>404</body></html>")
    return folder


@pytest.fixture
def faces(tmp_path: Path) -> str:
    path = tmp_path / "faces.toml"
    path.write_text(FACES)
    return str(path)


CONDEMNED = {"ab/portrait.jpg", "ab/cd/same-portrait.bin"}


def test_dry_run_then_apply_removes_exactly_what_was_condemned(media: Path, faces: str) -> None:
    before = digests(media)
    dry = program("scan", str(media), "--dry-run", "--policy", faces, "--json")
    assert dry.code == 1, dry
    result = dry.json
    assert list(result) == JSON_FIELDS
    assert (result["listed"], result["judged"], result["already_judged"]) == (9, 5, 0)
    assert (result["clear"], result["review"], result["block"]) == (3, 0, 2)
    assert (result["planned"], result["acted"], result["failed"]) == (2, 0, 0)
    assert result["skipped"] == {"not_media": 2, "empty": 1}
    assert result["unscanned"] == {"truncated": 1}
    assert result["listed"] == result["judged"] + result["already_judged"] + 3 + 1
    assert result["frames"] == 4
    assert result["device"] == "cpu"
    assert result["policy"].startswith("faces@")
    assert digests(media) == before

    applied = program("apply", str(media), "--act", "delete", "--json")
    assert applied.code == 0, applied
    assert (applied.json["planned"], applied.json["acted"], applied.json["failed"]) == (2, 2, 0)
    assert digests(media) == {key: value for key, value in before.items() if key not in CONDEMNED}
    assert program("ledger", "verify").code == 0

    again = program("scan", str(media), "--policy", faces, "--json")
    assert (again.json["listed"], again.json["already_judged"], again.json["judged"]) == (7, 3, 0)
    assert again.json["planned"] == 0


@pytest.mark.long
def test_a_first_real_run_needs_a_word_without_a_terminal(media: Path, faces: str) -> None:
    before = digests(media)
    refused = program("scan", str(media), "--policy", faces, "--yes")
    check_one_line_error(refused, 2, "--without-dry-run", "dry run", "--act delete")
    assert digests(media) == before
    done = program("scan", str(media), "--policy", faces, *FIRST, "--json")
    assert done.code == 1
    assert done.json["acted"] == 2
    assert set(before) - set(digests(media)) == CONDEMNED


@pytest.mark.long
def test_act_report_needs_no_confirmation_and_removes_nothing(media: Path, faces: str) -> None:
    before = digests(media)
    done = program("scan", str(media), "--policy", faces, "--act", "report", "--json")
    assert (done.code, done.json["block"], done.json["planned"]) == (1, 2, 0)
    assert digests(media) == before


@pytest.mark.long
def test_follow_up_list_show_dismiss(media: Path, faces: str) -> None:
    program("scan", str(media), "--dry-run", "--act", "delete", "--policy", faces)
    rows = program("list", "--json").lines
    assert len(rows) == 9
    assert all(list(row) == ROW_FIELDS for row in rows)
    blocked = program("list", "--verdict", "block", "--json").lines
    assert {row["key"] for row in blocked} == CONDEMNED
    row = blocked[0]
    assert row["store"] == media.as_uri()
    assert row["act"] == {"kind": "delete", "state": "planned"}
    assert row["unscanned"] is None
    assert row["signals"]["face.present"] >= 0.5
    assert row["reasons"][0]["rule"] == "a face"
    factor = row["reasons"][0]["factors"][0]
    assert (factor["factor"], factor["signal"], factor["threshold"], factor["frame"]) == (
        "face",
        "face.present",
        0.5,
        0,
    )
    skipped = program("list", "--skipped", "not_media", "--json").lines
    assert {(r["key"], r["state"], r["skipped"], r["unscanned"]) for r in skipped} == {
        ("export.csv", "skipped", "not_media", None),
        ("page.jpg", "skipped", "not_media", None),
    }

    shown = program("show", "ab/portrait.jpg", "--json").json
    assert shown["sha256"] == row["sha256"]
    assert set(shown["judgements"][0]["detectors"]) >= {"open_nsfw", "nudenet"}
    by_path = program("show", str(media / "ab/portrait.jpg"), "--json").json
    assert by_path["sha256"] == row["sha256"]
    text = program("show", row["sha256"])
    assert "a face: face" in text.out

    done = program("dismiss", "ab/portrait.jpg", "--reason", "my own portrait")
    assert done.code == 0
    before = digests(media)
    real = program("scan", str(media), "--policy", faces, "--json")
    assert (real.json["block"], real.json["acted"]) == (0, 0)
    assert digests(media) == before
    harsher = program("scan", str(media), "--policy", faces, "--recheck", "all", "--json")
    assert harsher.json["block"] == 0
    assert program("dismiss", "ab/portrait.jpg", "--undo").code == 0
    assert program("scan", str(media), "--policy", faces, "--json").json["acted"] == 2


@pytest.mark.long
def test_a_new_policy_is_previewed_and_applied_from_scores(media: Path, faces: str, tmp_path: Path) -> None:
    program("scan", str(media), "--dry-run", "--act", "delete", "--policy", faces, "--no-cascade")
    lenient = tmp_path / "lenient.toml"
    lenient.write_text(FACES.replace('verdict = "block"', 'verdict = "review"'))
    preview = program("policy", "preview", str(lenient), "--json").json
    assert preview["objects"] == 5
    assert {"from": "block", "to": "review", "objects": 2} in preview["changes"]
    assert preview["undecided"] == 0
    assert {row["key"] for row in program("list", "--verdict", "block", "--json").lines} == CONDEMNED
    # Nothing may be opened: the files are made unreadable by replacing them in place, with their sizes and times.
    for path in (p for p in media.rglob("*") if p.is_file()):
        info = path.stat()
        assert info.st_size or path.name == "empty.jpg"
    rescan = program("scan", str(media), "--policy", str(lenient), "--recheck", "policy", "--json")
    assert (rescan.json["already_judged"], rescan.json["judged"], rescan.json["block"]) == (5, 0, 0)
    assert rescan.json["bytes"] == 0
    assert set(digests(media)) >= CONDEMNED


def test_the_test_card_travels_the_whole_chain(media: Path) -> None:
    (media / "card.png").write_bytes(draw_test_card())
    done = program("scan", str(media), *FIRST, "--json")
    assert (done.json["block"], done.json["acted"]) == (1, 1)
    assert not (media / "card.png").exists()
    (row,) = program("list", "--state", "removed", "--json").lines
    assert row["sha256"] == TEST_CARD_SHA256.hex()
    assert row["labels"] == ["test-card"]


@pytest.mark.long
def test_the_self_test_passes_and_writes_the_card(tmp_path: Path) -> None:
    done = program("self-test")
    assert done.code == 0, done
    assert "the card is removed" in done.out
    assert program("self-test", "--card", str(tmp_path / "card.png")).code == 0
    assert (tmp_path / "card.png").read_bytes() == draw_test_card()
    check_one_line_error(program("self-test", "--card", str(tmp_path / "card.png")), 2, "exists already")


@pytest.mark.long
def test_a_self_test_that_finds_something_wrong_exits_with_5(tmp_path: Path) -> None:
    everything = tmp_path / "everything.toml"
    everything.write_text(
        '[factors]\nany = ["nsfw.open_nsfw"]\n[[rules]]\nname = "all"\nwhen = { any = 0.0000001 }\nverdict = "block"\n'
    )
    check_one_line_error(
        program("self-test", env={"FEDI_SAFETY_POLICY": str(everything)}), 5, "self-test", "condemned 2"
    )


@pytest.mark.long
def test_doctor_says_that_all_is_well_and_what_is_not(media: Path, tmp_path: Path) -> None:
    done = program("doctor", str(media))
    assert done.code == 0, done
    for word in ("policy", "ledger", "store", "device", "open_nsfw", "nudenet", "age", "decoder"):
        assert word in done.out
    assert "WRONG" not in done.out
    bad = program("doctor", str(tmp_path / "nowhere"))
    assert bad.code == 2
    assert "WRONG store" in bad.out


@pytest.mark.long
def test_hostile_names_survive_the_whole_way(media: Path, faces: str) -> None:
    names = [b"new\nline.jpg", b"\xff\xfe.jpg", b"-rf.jpg", b"[red]markup[b].jpg"]
    for name in names:
        (media / os.fsdecode(name)).write_bytes(jpeg_bytes("astronaut"))
    program("scan", str(media), "--dry-run", "--policy", faces)
    rows = program("list", "--verdict", "block", "--json").lines
    assert {os.fsencode(row["key"]) for row in rows} >= set(names)
    plain = program("list", "--verdict", "block").out
    assert len(plain.splitlines()) == len(rows)
    assert "\\n" in plain
    shown = subprocess.run([*command("show", "--json"), b"\xff\xfe.jpg"], capture_output=True, check=True)
    assert json.loads(shown.stdout)["objects"][0]["key"] == "\udcff\udcfe.jpg"
    assert program("apply", str(media), "--act", "delete").code == 0
    assert not any((media / os.fsdecode(name)).exists() for name in names)


MANY = 90


def wait_for_a_verdict(running: subprocess.Popen[bytes]) -> None:
    """Wait until the ledger holds one; the run must not end before."""
    ledger = Path(os.environ["HOME"]) / ".local/share/fedi-safety/ledger.db"
    deadline = time.monotonic() + 60
    found = 0
    while not found:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as base:
            (found,) = base.execute("SELECT count(*) FROM contents").fetchone()


@pytest.mark.long
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_in_order_and_the_next_run_goes_on(tmp_path: Path, faces: str, sent: signal.Signals) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    body = jpeg_bytes("astronaut")
    for i in range(MANY):
        # A comment segment makes each file a content of its own.
        (folder / f"{i:04d}.jpg").write_bytes(body[:2] + b"\xff\xfe\x00\x06%04d" % i + body[2:])
    running = subprocess.Popen(
        command("scan", str(folder), "--policy", faces, *FIRST, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for_a_verdict(running)
    running.send_signal(sent)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    result = json.loads(out)
    assert 0 < result["judged"] < MANY
    assert result["acted"] == 0
    assert b"run the same command again" in err
    assert len(list(folder.iterdir())) == MANY
    assert program("ledger", "verify").code == 0
    rest = program("scan", str(folder), "--policy", faces, "--act", "report", "--json").json
    assert rest["already_judged"] == result["judged"]
    assert rest["judged"] + rest["already_judged"] == MANY


@pytest.mark.long
def test_the_breaker_exits_with_4_and_resume_goes_on(tmp_path: Path, faces: str) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "p.jpg").write_bytes(jpeg_bytes("astronaut"))
    config = tmp_path / "config.toml"
    config.write_text("[breaker]\nmin_judged = 1\n")
    dry = ("scan", str(folder), "--policy", faces, "--dry-run", "--act", "delete")
    assert program(*dry, "--config", str(config)).code == 0
    for verb in (["scan", str(folder), "--policy", faces], ["apply", str(folder)]):
        done = program(*verb, "--config", str(config))
        assert done.code == 4
        assert "BREAKER" in done.err
        assert "--resume-acts" in done.err
        assert (folder / "p.jpg").exists()
    done = program("apply", str(folder), "--config", str(config), "--resume-acts")
    assert done.code == 0
    assert not (folder / "p.jpg").exists()


@pytest.mark.long
def test_an_empty_folder_is_done(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = program("scan", str(tmp_path / "empty"), "--dry-run", "--json")
    assert done.code == 0
    assert done.json["listed"] == 0
