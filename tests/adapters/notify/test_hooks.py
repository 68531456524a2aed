"""Hooks: a program with JSON on its standard input, no shell, none of our secrets, and an end."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from pathlib import Path

import pytest

from fedi_safety.core.ledger.notices import Sent
from fedi_safety.core.notices.text import Told, as_json, words
from fedi_safety.core.notices.transitions import Transition
from fedi_safety.notify.hooks import HookSender

TOLD = Told(Transition.CONDEMNED, "file:///srv/media", 3, {"known image": 3})
SAID = words(TOLD, number=7)
FACTS = as_json(TOLD, SAID, number=7, again=False, name="cats", at=12.0)


def script(folder: Path, text: str) -> str:
    path = folder / "hook.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(stat.S_IRWXU)
    return str(path)


def test_it_gets_the_facts_and_its_arguments_as_they_are(tmp_path: Path) -> None:
    path = script(tmp_path, f'cat > {tmp_path}/in; printf "%s\\n" "$@" > {tmp_path}/arguments')
    assert HookSender([path, "a b", "$(id); `id`"], 30).send(SAID, FACTS) == Sent(True)
    assert json.loads((tmp_path / "in").read_text()) == FACTS
    assert FACTS["command"] == "fedi-safety list file:///srv/media --verdict block"
    assert (tmp_path / "arguments").read_text().splitlines() == ["a b", "$(id); `id`"]


def test_the_page_shows_what_it_gets() -> None:
    page = (Path(__file__).parents[3] / "docs/notify.md").read_text("utf-8")
    (shown,) = re.findall(r"^```json\n(.*?)```$", page, re.MULTILINE | re.DOTALL)
    given = as_json(TOLD, SAID, number=12, again=False, name=None, at=1796000000.0)
    assert json.loads(shown) == given | {"text": "..."}


def test_no_secret_of_ours_is_in_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEDI_SAFETY_S3__SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "PICTRS_API_KEY", "OTHER"):
        monkeypatch.setenv(name, "s3cr3t")
    path = script(tmp_path, f"env > {tmp_path}/env")
    assert HookSender([path], 30).send(SAID, FACTS).ok
    assert "s3cr3t" not in (tmp_path / "env").read_text()


@pytest.mark.parametrize(
    ("text", "error"), [("exit 3", "it ended with exit code 3"), ("kill -9 $$", "it ended with signal 9")]
)
def test_how_it_failed_is_said(tmp_path: Path, text: str, error: str) -> None:
    assert HookSender([script(tmp_path, text)], 30).send(SAID, FACTS) == Sent(False, error)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    assert HookSender([str(tmp_path / "none")], 30).send(SAID, FACTS).error.startswith("it cannot be run: No such file")


def test_it_is_killed_with_its_children_when_its_time_is_over(tmp_path: Path) -> None:
    path = script(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/child; cat > /dev/null; wait")
    sent = HookSender([path], 0.5).send(SAID, FACTS)
    assert sent == Sent(False, "it did not end within 0.5 s and was killed", lost=True)
    child = int((tmp_path / "child").read_text())
    for _ in range(500):
        if not alive(child):
            return
        time.sleep(0.02)
    raise AssertionError("its child lives on")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_one_that_reads_nothing_is_no_trouble(tmp_path: Path) -> None:
    facts = FACTS | {"text": "x" * 1_000_000}
    assert HookSender([script(tmp_path, "exec 0<&-; exit 0")], 30).send(SAID, facts) == Sent(True)
    assert os.getpid()
