"""`init` as an administrator has it: four questions, each tried; what doctor is content with is written, or nothing."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fedi_safety.cli import doctor_cmd
from fedi_safety.config.loading import load_settings
from fedi_safety.tracing import KINDS
from support.corpus.photos import jpeg_bytes
from support.program import check_one_line_error, program, without_power
from support.terminal import on_terminal

KEY = "s3cret-never-shown"
SERVERS = [word for kind in KINDS for word in kind.servers]
GIVEN = ("--server", "mastodon", "--detectors", "embedded", "--act", "report")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and an empty system, of which nothing is configured."""
    for name in ("HOME", "FEDI_SAFETY_ROOT"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "coffee.jpg").write_bytes(jpeg_bytes("coffee", size=200))
    return folder


def usual_place(home: Path) -> Path:
    root = os.geteuid() == 0
    return home / ("FEDI_SAFETY_ROOT/etc/fedi-safety" if root else "HOME/.config/fedi-safety") / "config.toml"


def left(home: Path) -> list[str]:
    """What was made in home and system."""
    return sorted(str(path) for name in ("HOME", "FEDI_SAFETY_ROOT") for path in (home / name).rglob("*"))


@contextmanager
def pictrs(key: str = KEY) -> Iterator[str]:
    """The part of a pict-rs that `init` asks, empty; who has another key is refused."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            known = self.headers.get("X-Api-Token") == key
            body = {"msg": "ok", "page": {"limit": 1, "hashes": []}} if known else {"msg": "Invalid API key"}
            text = json.dumps(body).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"pictrs+http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


# --- what it writes


@pytest.mark.sampled(3)
@pytest.mark.parametrize("server", SERVERS)
def test_for_each_server_what_it_writes_is_loaded_and_doctor_is_content(
    server: str, home: Path, media: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fedi_safety.cli import run

    config = home / f"{server}.toml"
    arguments = ["--server", server, "--store", str(media), "--detectors", "embedded", "--act", "delete"]
    assert run(["init", *arguments, "--config", str(config)]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].endswith(f"scan --dry-run --config {config}")
    settings = load_settings(str(config))
    assert (settings.store, settings.act, settings.detectors) == (str(media), "delete", ["embedded"])
    assert settings.trace.server == server
    for slow in ("_detectors", "_decoder"):
        monkeypatch.setattr(doctor_cmd, slow, lambda *_: iter(()))
    code = doctor_cmd.doctor(json_output=True, config=str(config), ledger=str(home / "ledger.db"))
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert code == 0 and [f for f in findings if f["ok"] is False] == []
    assert [f["detail"] for f in findings if f["thing"] == "store"] == [
        f"file://{media}: can be listed, read and removed from"
    ]
    assert "clip" not in json.dumps(findings), "nobody switched it on"


@pytest.mark.long
def test_the_usual_place_is_taken_by_every_command_and_nothing_is_removed(home: Path, media: Path) -> None:
    done = program("init", *GIVEN, "--store", str(media))
    assert done.code == 0, done
    place = usual_place(home)
    assert done.out.splitlines()[0] == f"wrote {place}"
    assert place.stat().st_mode & 0o777 == 0o644 and list(place.parent.iterdir()) == [place]
    assert [path.name for path in media.iterdir()] == ["coffee.jpg"]
    scan = done.out.splitlines()[-1].split()
    assert scan[-2:] == ["scan", "--dry-run"]
    found = program(*scan[-2:], "--json")
    assert found.code == 0 and found.json["judged"] == 1, found


def test_a_relative_path_is_written_as_the_whole_one(home: Path, media: Path) -> None:
    assert program("init", *GIVEN, "--store", media.name).code == 0
    assert load_settings(str(usual_place(home))).store == str(media)


def test_a_name_that_is_not_utf8_is_written_as_a_url(home: Path) -> None:
    folder = home / "caf\udce9"
    folder.mkdir()
    done = program("init", *GIVEN, "--store", str(folder))
    assert done.code == 0, done
    assert load_settings(str(usual_place(home))).store == f"file://{home}/caf%E9"


# --- on a terminal


@pytest.mark.long
def test_four_questions_and_a_secret_asked_again_until_they_hold(home: Path) -> None:
    with pictrs() as url:
        done = on_terminal(
            "init",
            answers=(
                ("Number or name", "lemy"),
                ("Number or name", "1"),
                ("Path or URL", "/nowhere/at/all"),
                ("Path or URL", url),
                ("API key", "wr0ng-key"),
                ("Path or URL", url),
                ("API key", KEY),
                ("Add it? [y/N]", ""),
                ("Your choice", "erase"),
                ("Your choice", "purge"),
            ),
        )
    assert done.code == 0, done.out
    assert done.out.count("Which server") == done.out.count("Where do they lie") == 1
    assert "server lemy: no such server is known" in done.out and "there is no such directory" in done.out
    assert "the API key is not accepted (401)" in done.out and "MB to fetch, by its architecture" in done.out
    assert KEY not in done.out and "wr0ng-key" not in done.out, "what is secret is not shown"
    assert f"ok    {url}: can be listed and removed from, but is empty" in done.out
    place = usual_place(home)
    assert place.stat().st_mode & 0o777 == 0o600
    settings = load_settings(str(place))
    assert (settings.store, settings.act, settings.trace.server) == (url, "purge", "lemmy")
    assert settings.pictrs.api_key is not None and settings.pictrs.api_key.get_secret_value() == KEY
    assert max(map(len, (line for line in done.out.splitlines() if "http" not in line and str(home) not in line))) < 160


@pytest.mark.long
def test_enter_four_times_changes_nothing_and_ctrl_d_writes_nothing(home: Path, media: Path) -> None:
    done = on_terminal("init", answers=(("Number or name", ""), ("Path or URL", "\x04")))
    assert done.code == 130 and left(home) == [], done.out
    done = on_terminal("init", "--store", str(media), answers=(("Number", ""), ("Add it?", ""), ("Your choice", "")))
    assert done.code == 0, done.out
    settings = load_settings(str(usual_place(home)))
    assert (settings.act, settings.detectors, settings.trace.server) == ("report", ["embedded"], None)


# --- what bad input gets: one line, the right code, and nothing written


def test_without_a_terminal_what_is_missing_is_named(home: Path, media: Path) -> None:
    check_one_line_error(program("init"), 2, "--server, --store, --detectors, --act", "give them")
    check_one_line_error(program("init", *GIVEN), 2, "not given: --store;")
    with pictrs() as url:
        done = program("init", *GIVEN, "--store", url)
    check_one_line_error(done, 2, "FEDI_SAFETY_PICTRS__API_KEY")
    assert left(home) == []


def test_answers_that_cannot_be(home: Path, media: Path) -> None:
    def init(**other: str) -> None:
        options = {"server": "other", "store": str(media), "detectors": "embedded", "act": "report"} | other
        done = program("init", *(word for name, value in options.items() for word in (f"--{name}", value)))
        check_one_line_error(done, 2, *other.values())
        assert left(home) == []

    init(server="friendica")
    init(detectors="crystal-ball")
    init(act="purge")
    init(store=str(media / "coffee.jpg"))


def test_a_wrong_secret_and_a_store_that_is_not_there(home: Path) -> None:
    options = ("--server", "lemmy", "--detectors", "embedded", "--act", "purge")
    with pictrs() as url:
        done = program("init", *options, "--store", url, env={"FEDI_SAFETY_PICTRS__API_KEY": "another"})
        check_one_line_error(done, 2, "the API key is not accepted (401)", "PICTRS__SERVER__API_KEY")
        done = program("init", *options, "--store", url, env={"FEDI_SAFETY_PICTRS__API_KEY": KEY})
    assert done.code == 0, done
    assert "`pictrs.api_key` is not in the file" in done.err
    text = usual_place(home).read_text()
    assert KEY not in text and "FEDI_SAFETY_PICTRS__API_KEY" in text
    usual_place(home).unlink()
    done = program("init", *options, "--store", "pictrs+http://127.0.0.1:9", env={"FEDI_SAFETY_PICTRS__API_KEY": KEY})
    check_one_line_error(done, 3, "http://127.0.0.1:9", "check host and port")
    assert not usual_place(home).exists()


def test_what_is_there_already_is_never_overwritten(home: Path, media: Path) -> None:
    place = usual_place(home)
    place.parent.mkdir(parents=True)
    place.write_text("# mine\n")
    check_one_line_error(program("init", *GIVEN, "--store", str(media)), 2, str(place), "already", "edit it")
    place.unlink()
    place.symlink_to("nowhere")
    check_one_line_error(program("init", *GIVEN, "--store", str(media)), 2, str(place), "already")
    assert place.is_symlink() and list(place.parent.iterdir()) == [place]


@pytest.mark.long
def test_a_store_that_may_not_be_removed_from_is_said_before_anything_is_written(home: Path, media: Path) -> None:
    media.chmod(0o555)
    config = str(home / "config.toml")
    options = ("--server", "other", "--store", str(media), "--detectors", "embedded", "--config", config)
    try:
        done = program("init", *options, "--act", "delete", prefix=without_power())
        check_one_line_error(done, 2, "act delete: this user may not remove files in its root", "or choose report")
        assert not Path(config).exists()
        assert program("init", *options, "--act", "report", prefix=without_power()).code == 0
    finally:
        media.chmod(0o755)


@pytest.mark.long
def test_a_place_that_cannot_be_written_to_and_a_mistake_in_a_variable_leave_nothing(home: Path, media: Path) -> None:
    shut = home / "shut"
    shut.mkdir(mode=0o555)
    arguments = ("init", *GIVEN, "--store", str(media))
    done = program(*arguments, "--config", str(shut / "deep/config.toml"), prefix=without_power())
    check_one_line_error(done, 2, str(shut), "no permission to write", "--config")
    assert list(shut.iterdir()) == []
    done = program(*arguments, env={"FEDI_SAFETY_JOBS": "many"})
    check_one_line_error(done, 2, "jobs", "many")
    assert left(home) == []


def test_a_write_that_fails_leaves_neither_file_nor_directories(tmp_path: Path) -> None:
    from fedi_safety.cli.setup.place import write_new
    from fedi_safety.core.errors import ConfigError, UsageError

    place = tmp_path / "here/new/deep/config.toml"
    (tmp_path / "here").mkdir()

    def broken(_path: Path) -> None:
        raise ConfigError("configuration", "a mistake")

    with pytest.raises(ConfigError):
        write_new(place, "x = 1\n", secret=True, check=broken)
    assert list((tmp_path / "here").iterdir()) == []

    def faster(_path: Path) -> None:
        place.write_text("# somebody else's\n")

    with pytest.raises(UsageError, match="made meanwhile"):
        write_new(place, "x = 1\n", secret=True, check=faster)
    assert place.read_text() == "# somebody else's\n" and list(place.parent.iterdir()) == [place]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes the system's own")
def test_a_person_is_told_of_the_systems_configuration(home: Path, media: Path) -> None:
    system = home / "FEDI_SAFETY_ROOT/etc/fedi-safety/config.toml"
    system.parent.mkdir(parents=True)
    system.write_text("")
    check_one_line_error(program("init", *GIVEN, "--store", str(media)), 2, str(system), "whole machine")
