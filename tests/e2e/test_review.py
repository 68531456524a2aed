"""The review pages of the program itself: on this machine by a link, and beside a gate by a password."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import httpx
import pytest

from fedi_safety.config.loading import load_settings
from support.program import command, program
from support.servers.gate import Process
from support.servers.pictrs import free_port

PASSWORD = "a harmless pass phrase"


def let_in(*more: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    line = command("review", "password", *more)
    return subprocess.run(line, input=f"{password}\n", capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.long
def test_one_command_opens_the_pages_and_a_link_is_good_once(tmp_path: Path) -> None:
    here = Process(("review", "--ledger", str(tmp_path / "ledger.db")), tmp_path, {})
    here.start()
    try:
        here.said("/review/enter?key=")
        link = next(line for line in here.log.splitlines() if line.startswith("http://127.0.0.1:"))
        root, key = link.split("/review/enter?key=")
        with httpx.Client(base_url=root, trust_env=False, headers={"Origin": root}) as browser:
            assert browser.get("/review/queue/review").status_code == 303
            assert browser.post("/review/enter", data={"key": key}).status_code == 303
            assert "Nothing waits here." in browser.get("/review/queue/review").text
        again = httpx.post(f"{root}/review/enter", data={"key": key}, headers={"Origin": root}, trust_env=False)
        assert again.status_code == 403
        assert here.stop() == 0
    finally:
        here.end()
    assert program("ledger", "verify", "--ledger", str(tmp_path / "ledger.db")).code == 0


@pytest.mark.long
@pytest.mark.parametrize("own_port", [False, True])
def test_serve_has_them_beside_the_gate_or_at_a_port_of_their_own(tmp_path: Path, own_port: bool) -> None:
    made = let_in("ada", "--role", "viewer", "--role", "reviewer")
    assert (made.returncode, PASSWORD in made.stdout) == (0, False)
    gate, own = free_port(), free_port()
    config = tmp_path / "config.toml"
    port = f"port = {own}\n" if own_port else ""
    config.write_text(
        f'ledger = "{tmp_path / "ledger.db"}"\n'
        f'[gate]\nengine = false\nport = {gate}\nworker_keys = {{ w = "secret" }}\n'
        f"[review]\nenabled = true\n{port}{made.stdout}"
    )
    assert load_settings(str(config)).review.people["ada"].roles == ("viewer", "reviewer")
    here = Process(("serve", "--config", str(config)), tmp_path, {})
    here.start()
    try:
        here.said("the review pages are")
        here.said("the gate listens on")
        root = f"http://127.0.0.1:{own if own_port else gate}"
        with httpx.Client(base_url=root, trust_env=False, headers={"Origin": root}, timeout=60) as browser:
            assert browser.get("/review").headers["location"] == "/review/"
            said = browser.post("/review/login", data={"name": "ada", "password": PASSWORD})
            assert (said.status_code, said.headers["location"]) == (303, "/review/")
            assert ">ada<" in browser.get("/review/queue/review").text
        assert httpx.get(f"http://127.0.0.1:{gate}/healthz", trust_env=False).status_code == 200
        if own_port:
            assert httpx.get(f"http://127.0.0.1:{gate}/review/login", trust_env=False).status_code == 404
        assert here.stop() == 0
    finally:
        here.end()


@pytest.mark.long
def test_how_many_views_a_day_somebody_may_have_is_set_by_a_command(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    made = let_in("ada", "--role", "looker")
    config.write_text(f'ledger = "{tmp_path / "ledger.db"}"\n[review]\nviews_per_day = 7\n{made.stdout}')
    given = ("--config", str(config))
    assert "ada: 7 views a day; 0 within the last day" in program("review", "limit", "ada", *given).out
    assert re.search(r"ada: 3 views a day, set by \w+", program("review", "limit", "ada", "3", *given).out)
    assert "ada: 3 views a day" in program("review", "limit", "ada", *given).out
    assert program("ledger", "verify", *given).code == 0


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    for arguments, said in (
        (("review", "passwort", "ada"), "is nothing that review does"),
        (("review", "password"), "whose?"),
        (("review", "--role", "admin"), "belongs to `password`"),
        (("review", "limit"), "whose?"),
        (("review", "limit", "ada"), "nobody of this name stands in the configuration"),
        (("review", "password", "ada", "3"), "belongs to `limit`"),
        (("review", "password", "ada", "--role", "boss"), "no such role"),
        (("review", "password", "ada"), "has fewer than 12 letters"),
    ):
        done = program(*arguments, "--ledger", str(tmp_path / "ledger.db"))
        assert (done.code, done.err.count("\n")) == (2, 1), arguments
        assert re.search(re.escape(said), done.err), done.err
    assert not (tmp_path / "ledger.db").exists()
    nobody = tmp_path / "config.toml"
    nobody.write_text('[review]\nenabled = true\n[gate]\nengine = false\nworker_keys = { w = "secret" }\n')
    done = program("serve", "--config", str(nobody), "--ledger", str(tmp_path / "ledger.db"))
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "there is nobody who could sign in" in done.err
