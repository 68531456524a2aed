"""`notify ...` and what commands do about notices at their end, from outside."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from fedi_safety.app.ledger import SystemClock
from fedi_safety.cli.doctor_cmd import _notify
from fedi_safety.config.loading import load_settings
from fedi_safety.config.notices import Hooks, Notify
from fedi_safety.core.errors import ConfigError
from fedi_safety.core.ledger.notices import Channel, Sent
from fedi_safety.core.notices.transitions import Transition
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.notify.addresses import shown
from support.program import check_one_line_error, program
from support.receivers import Receiver, receiver


@pytest.fixture
def other() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def env(*urls: str, **more: str) -> dict[str, str]:
    return {"FEDI_SAFETY_NOTIFY__URLS": json.dumps(urls)} | more


def tripped(ledger: Path, url: str) -> None:
    """A ledger in which something waits to be told."""
    made = open_ledger(ledger, clock=SystemClock(), channels=[Channel(shown(url), frozenset(Transition))])
    made.set_breaker(made.begin_run("scan", "file:///srv", {}), "file:///srv", "too much")
    made.dispose()


def test_a_test_message_reaches_every_address_and_hook(other: Receiver, ledger: Path, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ncat > {tmp_path}/in\n")
    hook.chmod(0o700)
    hooks = {"FEDI_SAFETY_HOOKS__ON_REMOVED": json.dumps([str(hook)]), "FEDI_SAFETY_NOTIFY__NAME": "cats"}
    done = program("notify", "test", "--ledger", str(ledger), env=env(other.webhook, **hooks))
    assert (done.code, done.err) == (0, "")
    assert done.out == "json://127.0.0.1: sent\nhooks.on_removed: sent\n"
    assert [each["title"] for each in other.taken] == ["cats: fedi-safety: a test"]
    assert json.loads((tmp_path / "in").read_text())["transition"] == "test"
    assert not ledger.exists()


@pytest.mark.long
def test_what_does_not_arrive_is_said_without_a_secret(other: Receiver, ledger: Path) -> None:
    other.answers = lambda: "fail"
    urls = env(other.webhook, other.ntfy)
    done = program("notify", "test", "--ledger", str(ledger), "--log-level", "debug", env=urls)
    assert done.code == 3
    assert "json://127.0.0.1: not sent: it answered 500\n" in done.err
    assert "s3cr3t" not in done.out + done.err


@pytest.mark.parametrize("command", ["notify test", "scan", "apply", "watch", "serve"])
def test_an_address_of_no_known_kind_is_one_line_before_anything_is_done(
    command: str, ledger: Path, tmp_path: Path
) -> None:
    store = [] if command in ("notify test", "serve") else [str(tmp_path)]
    done = program(*command.split(), *store, "--ledger", str(ledger), env=env("foo://s3cr3t@host.example"))
    line = "notify.urls (1): foo://... is no address that apprise knows"
    check_one_line_error(done, 2, line)
    assert not ledger.exists()
    assert "s3cr3t" not in done.out + done.err


def test_doctor_looks_at_addresses_hooks_and_what_was_not_told(other: Receiver, ledger: Path) -> None:
    tripped(ledger, other.webhook)
    hooks = Hooks(on_removed=("/nowhere/at/all",))
    settings = load_settings(os.devnull, ledger=str(ledger)).model_copy(
        update={"notify": Notify(urls=(SecretStr(other.webhook),)), "hooks": hooks}
    )
    found = {finding.detail: finding.ok for finding in _notify(settings)}
    assert found == {
        "hooks.on_removed: /nowhere/at/all cannot be run; check its name and rights": False,
        "json://127.0.0.1: `fedi-safety notify test` tries it": True,
        "hooks.on_removed: `fedi-safety notify test` tries it": True,
    }
    made = open_ledger(ledger, clock=SystemClock(), channels=[])
    notice = made.take_notice("json://127.0.0.1", "me")
    assert notice is not None
    made.close_notice(notice, "me", Sent(False, "it answered 500"))
    made.dispose()
    late = "messages to json://127.0.0.1: 1 waits; the last failure: it answered 500"
    assert {finding.detail: finding.ok for finding in _notify(settings)}[late] is False
    bad = settings.model_copy(update={"notify": Notify(urls=(SecretStr("foo://s3cr3t@host.example"),))})
    with pytest.raises(ConfigError):
        list(_notify(bad))


def test_nobody_to_tell_is_said(ledger: Path) -> None:
    for command in ("test", "send"):
        check_one_line_error(program("notify", command, "--ledger", str(ledger)), 2, "nobody is to be told")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FEDI_SAFETY_NOTIFY__URLS", '["s3cr3t"]'),
        ("FEDI_SAFETY_NOTIFY__HEARTBEAT_URL", "ftp://s3cr3t"),
        ("FEDI_SAFETY_NOTIFY__ON", '["nothing"]'),
        ("FEDI_SAFETY_HOOKS__ON_FAILING", '["relative/path"]'),
    ],
)
def test_wrong_settings_are_one_line_and_show_no_secret(variable: str, value: str, ledger: Path) -> None:
    done = program("notify", "list", "--ledger", str(ledger), env={variable: value})
    check_one_line_error(done, 2, variable.removeprefix("FEDI_SAFETY_").replace("__", ".").lower())
    assert "s3cr3t" not in done.err


@pytest.mark.long
def test_what_waits_is_listed_and_sent(other: Receiver, ledger: Path) -> None:
    tripped(ledger, other.webhook)
    other.answers = lambda: "fail"
    urls = env(other.webhook)
    assert program("notify", "send", "--ledger", str(ledger), env=urls).code == 3
    (waits,) = program("notify", "list", "--json", "--ledger", str(ledger), env=urls).json["notices"]
    assert (waits["transition"], waits["state"], waits["attempts"]) == ("breaker_tripped", "waiting", 1)
    listed = program("notify", "list", "--ledger", str(ledger), env=urls)
    assert listed.out.splitlines()[0].split("\t")[2:6] == [
        *("waiting", "json://127.0.0.1", "breaker_tripped file:///srv", "1"),
    ]
    assert "messages to json://127.0.0.1: 1 waits; the last failure: it answered 500" in listed.out
    report = program("report", "--json", "--ledger", str(ledger), env=urls)
    assert report.json["notices"][0]["waiting"] == 1
    other.answers = lambda: "accept"
    done = program("notify", "send", "--ledger", str(ledger), env=urls)
    assert (done.code, done.out) == (0, "everything is sent\n")
    assert other.numbers() == [1]
    assert "nothing waits" in program("notify", "list", "--ledger", str(ledger), env=urls).out
    assert "sent" in program("notify", "list", "--all", "--ledger", str(ledger), env=urls).out


@pytest.mark.long
def test_a_broken_chain_is_told_once_and_that_it_holds_again(other: Receiver, ledger: Path) -> None:
    tripped(ledger, other.webhook)
    urls = env(other.webhook)

    def verify() -> int:
        return program("ledger", "verify", "--ledger", str(ledger), env=urls).code

    def alter(why: str) -> None:
        with closing(sqlite3.connect(ledger)) as file, file:
            file.execute("UPDATE stores SET breaker = ?", (why,))

    assert verify() == 0
    alter("it never was")
    assert [verify(), verify()] == [3, 3]
    alter("too much")
    assert verify() == 0
    titles = [each["title"].removeprefix("fedi-safety: ") for each in other.taken]
    assert titles == ["the breaker stopped removals", "the ledger's chain is broken", "well again"]


@pytest.mark.long
def test_a_store_that_refuses_credentials_is_told_by_a_scan(other: Receiver, ledger: Path) -> None:
    access = {
        "FEDI_SAFETY_PICTRS__API_KEY": "wrong",
        "FEDI_SAFETY_NOTIFY__HEARTBEAT_URL": f"http://127.0.0.1:{other.port}/heartbeat",
    }
    with refusing() as port:
        for _ in range(2):
            done = program(
                "scan", f"pictrs+http://127.0.0.1:{port}", "--dry-run", "--ledger", str(ledger),
                env=env(other.webhook, **access),
            )  # fmt: skip
            assert done.code == 2, done.err
    assert [each["title"] for each in other.taken] == ["fedi-safety: credentials are refused"]
    assert not any("heartbeat" in asked for asked in other.asked), "a pass that failed is no heartbeat"


@pytest.mark.long
def test_a_token_that_is_refused_is_told_though_the_command_tells_nothing_itself(ledger: Path) -> None:
    access = {"FEDI_SAFETY_TRACE__SERVER": "mastodon", "FEDI_SAFETY_TRACE__TOKEN": "s3cr3t"}
    with refusing() as port:
        access["FEDI_SAFETY_TRACE__URL"] = root = f"http://127.0.0.1:{port}"
        avatar = f"{root}/system/accounts/avatars/000/000/001/original/0123456789abcdef.png"
        done = program("trace", avatar, "--ledger", str(ledger), env=env("json://127.0.0.1:1/x", **access))
        assert done.code == 3 and "it does not accept the token" in done.err, done
    listed = program("notify", "list", "--ledger", str(ledger), env=env("json://127.0.0.1:1/x"))
    assert "credentials_refused API of Mastodon at 127.0.0.1" in listed.out
    assert "s3cr3t" not in listed.out + done.err


def refusing() -> Refusing:
    return Refusing()


class Refusing:
    """A server that lets nobody in."""

    def __enter__(self) -> int:
        import threading
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True)
        self.thread.start()
        return self.server.server_port

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
