"""The predecessor's names: its script, its variables, its database."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e.program import FACES, check_one_line_error, command, digests, program
from fedi_safety.cli.predecessor_cmd import remote_url
from photos import jpeg_bytes

SCRIPT = Path(__file__).parent.parent.parent / "fedi_safety_local_storage.py"


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "portrait.jpg").write_bytes(jpeg_bytes("astronaut"))
    (folder / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    (folder / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
    (folder / "export.csv").write_text("a,b\n")
    return folder


@pytest.fixture
def old_env(media: Path, empty_home: Path) -> None:
    """A `.env` in the working directory, as the predecessor wanted it, and a policy that condemns faces."""
    policy = media.parent / "faces.toml"
    policy.write_text(FACES)
    (empty_home / ".env").write_text(
        f'PICTRS_FILES_DIRECTORY="{media}"\nUSE_NEW_SAFETY=true\nFEDI_SAFETY_POLICY={policy}\nUNRELATED=1\n'
    )


@pytest.mark.usefixtures("old_env")
def test_the_old_script_name_and_options(media: Path) -> None:
    before = digests(media)

    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, env=dict(os.environ)
        )

    dry = script("--all", "--dry_run", "-t", "2", "--skip_unreadable")
    assert dry.returncode == 1, dry  # the clip and the table have no verdict
    assert "has no effect" in dry.stderr
    assert digests(media) == before
    real = script("--all")
    assert real.returncode == 1, real
    # What the predecessor would have deleted as unreadable is still there.
    assert set(before) - set(digests(media)) == {"portrait.jpg"}


@pytest.mark.usefixtures("old_env")
def test_without_all_it_runs_until_stopped_and_misses_nothing(media: Path) -> None:
    os.utime(media / "portrait.jpg", (1, 1))
    daemon = subprocess.Popen(
        command("fedi_safety_local_storage", "-m", "5", "--dry_run", "--skip_unreadable"),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while program("list", "--json").out.count("\n") < 4:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        daemon.send_signal(signal.SIGTERM)
        _, err = daemon.communicate(timeout=30)
    finally:
        daemon.kill()
    assert daemon.returncode in (0, 130), err
    assert "has no effect" in err and "watching" in err
    keys = {row["key"] for row in program("list", "--json").lines}
    assert keys == {"portrait.jpg", "coffee.jpg", "clip.mp4", "export.csv"}
    assert (media / "portrait.jpg").exists()


@pytest.mark.parametrize("name", ["fedi_safety_object_storage", "fedi_safety_remote_storage", "lemmy_safety_pictrs"])
def test_the_other_script_names_say_what_they_need(name: str, empty_home: Path) -> None:
    named = {"fedi_safety_object_storage": "PICTRS_BUCKET", "fedi_safety_remote_storage": "SSH_HOSTNAME"}
    check_one_line_error(program(name, "--all", "-t", "4"), 2, named.get(name, "comes with the gate"))
    script = SCRIPT.with_name(f"{name}.py")
    done = subprocess.run([sys.executable, str(script), "--all"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and named.get(name, "comes with the gate") in done.stderr


def test_the_remote_url_is_made_of_the_old_variables() -> None:
    variables = {"SSH_HOSTNAME": "media.example", "SSH_PORT": "2222", "SSH_USERNAME": "me too"}
    assert (
        remote_url(variables | {"PICTRS_FILES_DIRECTORY": "/srv/a b"}) == "sftp://me%20too@media.example:2222/srv/a%20b"
    )
    old = {"SSH_HOSTNAME": "::1", "SSH_PICTRS_FILES_DIRECTORY": "/srv"}
    assert remote_url(old) == "sftp://[::1]:22/srv"


@pytest.mark.usefixtures("old_env")
def test_its_database_becomes_history(media: Path, tmp_path: Path) -> None:
    path = tmp_path / "lemmy_safety.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE images (id INTEGER PRIMARY KEY, filename VARCHAR UNIQUE,"
            " nsfw BOOLEAN, csam BOOLEAN, created DATETIME)"
        )
        connection.executemany(
            "INSERT INTO images (filename, nsfw, csam, created) VALUES (?, ?, ?, '2024-01-02 03:04:05.000000')",
            [("gone/condemned.jpg", 1, 1), (str(media / "coffee.jpg"), 0, 0), ("failed.jpg", None, None)],
        )
    connection.close()
    done = program("import-ledger", "--json", env={"SQLITE_FILENAME": str(path)})
    assert done.code == 0, done
    assert (done.json["condemned"], done.json["to_judge"], done.json["failures"]) == (1, 1, 1)
    (row,) = program("list", "--state", "history", "--json").lines
    assert (row["key"], row["verdict"]) == ("gone/condemned.jpg", "block")
    assert "imported" in row["labels"]
    assert program("import-ledger", str(path), "--json").json["already_known"] == 1
    scanned = program("scan", "--dry-run", "--json").json
    assert scanned["judged"] == 2  # the clean file is judged again
    trusted = tmp_path / "other-ledger.db"
    program("import-ledger", str(path), "--trust", "--ledger", str(trusted))
    scanned = program("scan", "--dry-run", "--json", "--ledger", str(trusted)).json
    assert (scanned["judged"], scanned["already_judged"]) == (1, 1)


def test_a_directory_that_is_not_there_names_the_variable_s_value(empty_home: Path) -> None:
    (empty_home / ".env").write_text("PICTRS_FILES_DIRECTORY=/no/such/place\n")
    check_one_line_error(program("fedi_safety_local_storage", "--all"), 2, "/no/such/place")
