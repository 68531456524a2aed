"""The commands as a person types them, from a condemned picture to the ban of who posted it, over a Lemmy on loopback.

The tracer is a fake, so that each sighting is as the test wants it; the server answers as Lemmy 0.19's types allow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedi_safety import cli
from fedi_safety.core.sightings import Traced
from support import stand_in
from support.corpus import shapes
from support.servers.moderated import TOKEN, Moderated, lemmy19, moderated
from support.tracers import SEEN, FakeTracer

RED_CIRCLE, HARMLESS = (("red", "circle"),), (("blue", "square"),)
SIGHTING = replace(SEEN, post_id="11", person_id="13", local=True)


@pytest.fixture
def server() -> Iterator[Moderated]:
    with moderated(lemmy19) as made:
        made.posts = {"11": {"removed": False, "deleted": False}}
        made.people = {"13": {"banned": False}}
        yield made


class Shell:
    """A folder of pictures and its configuration, and the commands on it."""

    def __init__(self, folder: Path, server: Moderated, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.server, self._capsys = folder, server, capsys
        self.media = folder / "media"
        self.media.mkdir()
        (self.media / "bad.png").write_bytes(shapes.png_bytes(shapes.scene(1, RED_CIRCLE)))
        (self.media / "fine.png").write_bytes(shapes.png_bytes(shapes.scene(2, HARMLESS)))
        self.configure()

    def configure(self, actions: str = '["ban", "remove_post", "report"]', more: str = "") -> None:
        section = f'[trace]\nserver = "lemmy"\nurl = "{self.server.url}"\ntoken = "{TOKEN}"\n'
        self.config = str(stand_in.write_config(self.folder, self.media, f"{section}actions = {actions}\n{more}"))

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Run a command; return its code, and what it wrote."""
        code = cli.run([*arguments, "--config", self.config, "--ledger", str(self.folder / "ledger.db")])
        written = self._capsys.readouterr()
        assert TOKEN not in written.out + written.err
        return code, written.out + written.err

    def real(self, *more: str) -> tuple[int, str]:
        return self("scan", "--act", "delete", "--without-dry-run", *more)

    def shown(self) -> dict[str, str]:
        """The actions that `show --json` tells of, with their states."""
        _, text = self("show", "bad.png", "--json")
        return {one["action"]: one["state"] for one in json.loads(text)["actions"]}


@pytest.fixture
def sh(tmp_path: Path, server: Moderated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    tracer = FakeTracer(lambda _subject: Traced((SIGHTING,)))
    monkeypatch.setattr("fedi_safety.app.tracing.open_tracer", lambda _access: tracer)
    return Shell(tmp_path, server, capsys)


@pytest.mark.long
def test_from_a_picture_to_the_post_and_by_a_persons_word_to_the_person(sh: Shell) -> None:
    code, said = sh("scan", "--dry-run", "--act", "delete")
    assert code == 0
    assert "a real run would trace what it removes, and then act through the app as far as that tells: report, " in said
    assert sh.server.asked == []
    code, said = sh.real()
    assert code == 0, said
    assert "through the app: done 2, gone 0, failed 0, waiting for a person's word 1" in said
    assert "to let be done what waits for a person's word: fedi-safety confirm KEY" in said
    assert sh.server.posts["11"]["removed"] is True
    assert len(sh.server.reports) == 1
    assert not sh.server.people["13"]["banned"]
    assert sh.shown() == {"report": "done", "remove_post": "done", "ban": "unconfirmed"}
    assert "unconfirmed: ban of person" in sh("show", "bad.png")[1]
    code, said = sh("report")
    assert "1 actions about people or instances" in said and "2 " in said
    (store,) = json.loads(sh("report", "--json")[1])["stores"]
    assert store["actions"] == {"done": 2, "unconfirmed": 1}
    code, said = sh("confirm", "bad.png", "--reason", "two of us looked")
    assert code == 0
    assert "confirmed; to be done by the next run: 1" in said
    assert "ban of person @them@far.example" in said
    assert not sh.server.people["13"]["banned"], "it is the next run that acts"
    code, said = sh("apply", "--yes", "--json")
    assert code == 0, said
    (closing,) = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert closing["actions"] == {"done": 1, "gone": 0, "failed": 0, "unconfirmed": 0}
    assert sh.server.people["13"]["banned"]
    assert "confirmed by" in (text := sh("show", "bad.png")[1]) and "two of us looked" in text
    assert sh("ledger", "verify")[0] == 0
    sh.real()
    assert len(sh.server.writes) == 3, "nothing is done twice"


@pytest.mark.long
def test_the_breaker_has_its_code_and_its_word(sh: Shell) -> None:
    sh.configure(more="max_actions = 1\n")
    code, said = sh.real()
    assert code == 4
    assert "BREAKER: actions through the app were stopped" in said
    assert "--resume-actions" in said
    assert not (sh.media / "bad.png").exists(), "removals are another breaker's"
    assert "The breaker has stopped the actions through the app for" in sh("report")[1]
    assert sh.server.writes == []
    assert sh.real()[0] == 4
    code, said = sh("apply", "--yes", "--resume-actions")
    assert code == 0, said
    assert len(sh.server.writes) == 2


@pytest.mark.long
def test_a_server_that_refuses_is_said_and_the_run_ends_with_3(sh: Shell) -> None:
    sh.server.answer = lambda _asked: (503, {"error": "busy"})
    code, said = sh.real()
    assert code == 3
    assert "not done, tried again when it is due: report of post" in said
    assert not (sh.media / "bad.png").exists()
    sh.server.answer = lambda _asked: None
    assert sh.real()[0] == 0
    assert sh.server.posts["11"]["removed"] is True


@pytest.mark.long
def test_while_the_breaker_of_removals_holds_nothing_is_done_through_the_app(sh: Shell) -> None:
    sh.server.answer = lambda _asked: (503, {"error": "busy"})
    assert sh.real()[0] == 3
    sh.server.answer = lambda _asked: None
    (sh.media / "more.png").write_bytes(shapes.png_bytes(shapes.scene(3, RED_CIRCLE)))
    sh.configure(more="[breaker]\nmax_removed = 0\n")
    before = len(sh.server.asked)
    assert sh.real()[0] == 4
    assert (sh.media / "more.png").exists()
    assert len(sh.server.asked) == before


@pytest.mark.long
def test_a_store_that_is_left_as_it_is_has_no_actions(sh: Shell) -> None:
    code, _ = sh("scan", "--act", "report")
    assert code == 0
    assert sh.server.asked == []


@pytest.mark.long
def test_confirm_of_what_is_not_condemned_is_one_line_and_2(sh: Shell) -> None:
    sh("scan", "--dry-run", "--act", "delete")
    for key, word in (("fine.png", "not condemned"), ("no.png", "knows no such object")):
        code, said = sh("confirm", key)
        assert code == 2
        assert len(said.splitlines()) == 1 and word in said
    sh("dismiss", "bad.png")
    assert "was dismissed" in sh("confirm", "bad.png")[1]


@pytest.mark.parametrize("command", [("scan", "--dry-run"), ("apply",), ("watch",)])
def test_an_action_that_there_is_not_is_said_before_anything(sh: Shell, command: tuple[str, ...]) -> None:
    sh.configure('["report", "burn"]')
    code, said = sh(*command)
    assert code == 2
    assert "trace.actions: burn: lemmy has no such action; use some of: delete_image, report, remove_comment" in said
    assert len(said.splitlines()) == 1


@pytest.mark.long
def test_where_there_is_no_call_it_is_said_what_to_press(sh: Shell) -> None:
    section = '[trace]\nserver = "mastodon"\nurl = "https://social.example"\n'
    sh.config = str(stand_in.write_config(sh.folder, sh.media, section))
    code, said = sh.real()
    assert code == 0
    link = "https://social.example/admin/accounts/13/statuses/11"
    assert link in said
    assert link in sh("show", "bad.png")[1]
