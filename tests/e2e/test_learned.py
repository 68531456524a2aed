"""A head of the operator's own, from the first scan to a changed verdict: by the program, with the test model.

The stand-in policy condemns red circles. A person dismisses those that have something beside them, and the head learns
what these have in common.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedi_safety.app.ledger import SystemClock
from fedi_safety.config.locations import data_dir
from fedi_safety.ledger.ledger import open_ledger
from support import stand_in
from support.corpus import shapes
from support.program import Done, check_one_line_error, program
from support.terminal import on_terminal

COUNT = 260
FIRST = 40_000_000
SEEN = 210
"""Of so many the person has seen what was condemned; the others came later."""

POLICY = """\
[factors]
red = ["clip.red"]
circle = ["clip.circle"]
unlike_dismissed = ["learned.mine"]

[[rules]]
name = "red circle"
when = { red = 0.5, circle = 0.5, unlike_dismissed = 0.5 }
verdict = "block"
"""
BESIDE = """
[[rules]]
name = "red circle, like dismissed ones"
when = { red = 0.5, circle = 0.5 }
verdict = "review"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A place with a store."""
    store = tmp_path / "media"
    store.mkdir()
    for what in shapes.held_out(COUNT, FIRST):
        (store / f"{what.seed}.png").write_bytes(shapes.png_bytes(what, 96))
    stand_in.write_config(tmp_path, store, 'keep_embeddings = "float16"')
    (tmp_path / "first.toml").write_text(POLICY)
    (tmp_path / "both.toml").write_text(POLICY + BESIDE)
    return tmp_path


def run(home: Path, *arguments: str) -> Done:
    return program(*arguments, "--config", str(home / "config.toml"))


def alike() -> list[str]:
    """The keys of red circles with something beside them, in the order of their coming."""
    return [f"{w.seed}.png" for w in shapes.held_out(COUNT, FIRST) if w.condemned and len(w.things) > 1]


def keys(home: Path, verdict: str) -> set[str]:
    listed = run(home, "list", "--verdict", verdict, "--json")
    return {json.loads(line)["key"] for line in listed.out.splitlines()}


@pytest.mark.long
def test_from_dismissals_to_a_changed_verdict(home: Path) -> None:
    # Nothing was scanned, then nothing dismissed: one line each, with what it takes.
    check_one_line_error(run(home, "concepts", "learn", "mine"), 2)
    assert run(home, "scan", "--dry-run").code == 0
    few = run(home, "concepts", "learn", "mine")
    check_one_line_error(few, 2, "too few contents", "0 dismissed of 20", "of 40", "keep_embeddings")
    ledger = open_ledger(data_dir() / "ledger.db", clock=SystemClock())
    condemned = keys(home, "block")
    dismissed = [k for k in alike() if k in condemned and int(k[:-4]) < FIRST + SEEN]
    for key in dismissed:
        shown = ledger.show(key)
        assert shown is not None and shown.sha256 is not None
        ledger.dismiss(shown.sha256, "there is something beside it")
    ledger.dispose()

    # It is shown before it is written, and written only on a yes.
    asked = run(home, "concepts", "learn", "mine")
    assert asked.code == 2 and "not confirmed" in asked.err and "--yes" in asked.err
    assert f"learned from {len(dismissed)} dismissed" in asked.out and "AUC, condemned above dismissed" in asked.out
    file = data_dir() / "learned/mine.json"
    assert not file.exists()
    said = on_terminal("concepts", "learn", "mine", "--config", str(home / "config.toml"), answers=(("[y/N]", "no"),))
    assert said.code == 2 and "nothing was done" in said.out and not file.exists()
    learned = run(home, "concepts", "learn", "mine", "--yes", "--json").json
    figures = learned["cross_validation"]
    assert figures["condemned_above_dismissed"]["low"] > 0.6 and learned["contents"]["dismissed"] == len(dismissed)
    assert file.exists() and learned["file"] == str(file) and learned["model"].startswith(stand_in.MODEL_NAME)
    check_one_line_error(run(home, "concepts", "learn", "mine", "--yes"), 2, "is there already", "--replace")
    before = file.read_bytes()
    assert run(home, "concepts", "learn", "mine", "--yes", "--replace").code == 0
    assert file.read_bytes() == before  # the same contents teach the same

    # A policy that would let what looks dismissed go free is refused; with a rule beside it says what would change.
    refused = run(home, "policy", "check", str(home / "first.toml"))
    check_one_line_error(refused, 2, "unlike_dismissed keeps it from condemning", "when = { red = 0.5, circle = 0.5 }")
    unmeasured = run(home, "policy", "check", str(home / "both.toml"))
    assert unmeasured.code == 0 and "no active detector gives learned.mine" in unmeasured.out
    assert "learned" not in run(home, "policy", "check", str(home / "both.toml"), "--learned", "mine").out
    preview = run(home, "policy", "preview", str(home / "both.toml"), "--learned", "mine", "--json").json
    changes = {(c["from"], c["to"]): c["objects"] for c in preview["changes"]}
    later = len([k for k in alike() if k in condemned]) - len(dismissed)
    assert (preview["undecided"], preview["computed"]) == (0, COUNT - len(dismissed))
    assert later > 5 and abs(changes["block", "review"] - later) <= 3 and ("block", "clear") not in changes

    # In use, it is decided from what was kept: no file is opened.
    config = home / "config.toml"
    config.write_text(config.read_text().replace("policy.toml", "both.toml") + 'learned = ["mine"]\n')
    again = run(home, "scan", "--dry-run", "--json").json
    assert (again["judged"], again["frames"], again["bytes"]) == (0, 0, 0)
    assert again["review"] == changes["block", "review"] == len(keys(home, "review"))
    explained = run(home, "show", min(keys(home, "review"))).out
    assert "learned.mine" in explained and "like dismissed ones" in explained
    listed = run(home, "concepts", "list").out
    assert "learned.mine: learned on 20" in listed and "rules of the policy: 'red circle'" in listed
    (named,) = run(home, "concepts", "list", "--json").json["learned"]
    assert named["definition"] == learned["definition"] and named["rules"] == ["red circle"]
    picture = home / "media" / min(condemned - set(alike()))
    tried = run(home, "concepts", "try", str(picture), "--json").json["shares"]
    assert {s["signal"]: s["share"] for s in tried}["learned.mine"] > 0.5
    assert run(home, "ledger", "verify").code == 0

    # What was altered, or learned from another network, ends every command that would use it.
    file.write_bytes(before.replace(b'"dismissed": ', b'"dismissed": 1', 1))
    for command in (["scan", "--dry-run"], ["policy", "preview"], ["concepts", "try", str(picture)]):
        check_one_line_error(run(home, *command), 2, "mine.json", "altered")
    check_one_line_error(run(home, "policy", "preview", "--learned", "yours"), 2, "yours.json", "no such file")


@pytest.mark.parametrize(("arguments", "words"), [(("Mine!",), ("'Mine!'", "no name for a signal")), ((), ("NAME",))])
def test_bad_input_gets_one_line(arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path) -> None:
    config = stand_in.write_config(tmp_path)
    check_one_line_error(program("concepts", "learn", *arguments, "--config", str(config)), 2, *words)
