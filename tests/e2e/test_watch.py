"""`watch` from outside: a file dropped into the folder is gone within seconds; stops, kills and several stores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.program import FIRST, check_one_line_error, command, program


def card(path: Path) -> bytes:
    program("self-test", "--card", str(path))
    return path.read_bytes()


def wait_for(condition: Callable[[], bool], seconds: float = 40.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - began


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("watch", *arguments, *FIRST), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def healthy(path: Path, state: str = "ok") -> Callable[[], bool]:
    return lambda: path.exists() and json.loads(path.read_text())["state"] == state


@pytest.mark.long
def test_a_dropped_card_is_removed_within_seconds_and_a_stop_is_in_order(tmp_path: Path) -> None:
    data = card(tmp_path / "card.png")
    folder = tmp_path / "media"
    (folder / "ab").mkdir(parents=True)
    file = tmp_path / "health.json"
    daemon = start(str(folder), "--health-file", str(file))
    try:
        wait_for(healthy(file))
        time.sleep(1.5)  # the tree is watched by then
        (folder / "ab/new.png").write_bytes(data)
        assert wait_for(lambda: not (folder / "ab/new.png").exists()) < 10
        (tmp_path / "old").mkdir()
        (tmp_path / "old/card.png").write_bytes(data)
        os.utime(tmp_path / "old/card.png", (1, 1))
        (tmp_path / "old").rename(folder / "old")
        assert wait_for(lambda: not (folder / "old/card.png").exists()) < 10
        daemon.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        daemon.send_signal(signal.SIGTERM)
        _, err = daemon.communicate(timeout=30)
    finally:
        daemon.kill()
    assert daemon.returncode in (0, 130), err  # the policy read again makes a cycle that the stop may cut short
    assert "Traceback" not in err and "watching" in err
    assert program("ledger", "verify").code == 0


@pytest.mark.long
def test_killed_and_started_again_it_finds_what_came_meanwhile(tmp_path: Path) -> None:
    data = card(tmp_path / "card.png")
    folder = tmp_path / "media"
    folder.mkdir()
    file = tmp_path / "health.json"
    daemon = start(str(folder), "--health-file", str(file))
    wait_for(healthy(file))
    daemon.kill()
    daemon.communicate()
    (folder / "x.png").write_bytes(data)
    os.utime(folder / "x.png", (1, 1))
    done = program("watch", str(folder), "--once")
    assert done.code == 0, done
    assert not (folder / "x.png").exists()


@pytest.mark.long
def test_several_stores_from_one_configuration(tmp_path: Path) -> None:
    data = card(tmp_path / "card.png")
    config = tmp_path / "config.toml"
    text = ""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.png").write_bytes(data)
        text += f'[[stores]]\nname = "{name}"\nurl = "{tmp_path / name}"\n'
    config.write_text(text)
    dry = program("scan", "--dry-run", "--act", "delete", "--json", "--config", str(config))
    assert dry.code == 0, dry
    assert [line.get("store") for line in dry.lines] == ["one", "two", None]
    assert dry.json["listed"] == 2 and dry.json["planned"] == 2
    done = program("watch", "one", "--once", "--config", str(config))
    assert done.code == 0, done
    assert not (tmp_path / "one/card.png").exists() and (tmp_path / "two/card.png").exists()
    applied = program("apply", "--json", "--config", str(config))
    assert applied.code == 0, applied
    assert applied.json["acted"] == 1 and not (tmp_path / "two/card.png").exists()
    (tmp_path / "two").rename(tmp_path / "away")
    (tmp_path / "one/card.png").write_bytes(data)
    half = program("watch", "--once", "--config", str(config))
    assert half.code == 2 and "two" in half.err
    assert not (tmp_path / "one/card.png").exists()


@pytest.mark.long
def test_bad_input_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    check_one_line_error(program("watch", str(tmp_path / "missing")), 2, "missing")
    check_one_line_error(program("watch", str(folder)), 2, "no complete dry run")
    check_one_line_error(program("watch", str(folder), "--every", "soon"), 2, "--every soon", "30s")
    check_one_line_error(program("watch", str(folder), "--health-file", "/no/such/h"), 2, "/no/such/h")
    check_one_line_error(program("watch", str(folder), "--policy", "/no/such/p.toml"), 2, "p.toml")
