"""The predecessor's names: its script, its variables, its database."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.program import FACES, check_one_line_error, digests, program
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
def test_without_all_only_new_files_are_looked_at(media: Path) -> None:
    os.utime(media / "portrait.jpg", (1, 1))
    done = program("fedi_safety_local_storage", "-m", "5", "--dry_run")
    assert done.code == 1, done
    keys = {row["key"] for row in program("list", "--json").lines}
    assert keys == {"coffee.jpg", "clip.mp4", "export.csv"}


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
