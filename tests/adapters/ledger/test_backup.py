"""`ledger backup`: a whole, checked copy or none at all, and never in the place of what must stay."""

from __future__ import annotations

import os
import re
import resource
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from fedi_safety.cli import run
from fedi_safety.core.ledger.records import Verification
from fedi_safety.ledger.database import sqlite
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support.fakes import FakeClock
from support.ledgers import make_older
from support.program import command

ROOT = Path(__file__).parents[3]
STORE = "file:///srv/media"


def opened(path: Path) -> SqlLedger:
    return open_ledger(path, clock=FakeClock())


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger in use: two events, of which the second is in its log alone."""
    path = tmp_path / "in-use/ledger.db"
    records = opened(path)
    for _ in range(2):
        records.begin_run("scan", STORE, {})
    records.dispose()
    (tmp_path / "out").mkdir()
    return path


def backup(ledger: Path, file: str | Path, *options: str) -> int:
    return run(["ledger", "backup", str(file), "--ledger", str(ledger), *options])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def verified(path: Path) -> Verification:
    records = open_ledger(path, clock=FakeClock(), readonly=True)
    try:
        return records.verify()
    finally:
        records.dispose()


def length(path: Path) -> int:
    found = verified(path)
    assert found.problem is None
    return found.length


def test_it_says_what_it_wrote_and_is_its_owners_alone(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out/copy.db"
    assert backup(ledger, file) == 0
    said = capsys.readouterr().out.splitlines()
    head = verified(ledger).head
    assert re.fullmatch(rf"{file}: written, [\d.]+ MB; its chain of 2 events is whole; head {head}", said[0]), said
    assert said[1:] == [f"ledger: {ledger}"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and names(file.parent) == ["copy.db"]
    assert length(file) == 2


def test_it_is_of_one_moment_whoever_writes_and_while_a_run_is_on(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = opened(ledger)
    steps = 0

    def between(*_: int) -> None:
        nonlocal steps
        steps += 1
        if steps < 200:
            records.begin_run("scan", STORE, {})

    monkeypatch.setattr(sqlite, "_COPY_PAGES", 1)
    monkeypatch.setattr(sqlite, "_between", between)
    with records.run_lock():
        assert backup(ledger, tmp_path / "out/copy.db") == 0
    records.dispose()
    assert 20 < steps < 200, "it began anew at every write"
    assert (length(tmp_path / "out/copy.db"), length(ledger)) == (2, 2 + steps)


@pytest.mark.parametrize("revision", ["0014", "9999"])
def test_what_another_version_wrote_is_copied_as_it_is(
    ledger: Path, tmp_path: Path, revision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a copy can be made when the newer program is there already, and before the older one comes back."""
    if revision == "0014":
        make_older(ledger, revision)
    else:
        with closing(sqlite3.connect(ledger)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert backup(ledger, tmp_path / "out/copy.db") == 0
    assert "of another version" in capsys.readouterr().out
    for path in (ledger, tmp_path / "out/copy.db"):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)


def refused(code: int, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1, said
    return code, said.err


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("out/there.db", "there.db: is there already; give --replace, or name another file"),
        ("in-use/ledger.db", "is the ledger itself, or belongs to it; name another file, such as"),
        ("in-use/ledger.db-wal", "is the ledger itself, or belongs to it; name another file, such as"),
        ("out/another-name.db", "is the ledger itself, or belongs to it; name another file, such as"),
        ("out/link.db", "is the ledger itself, or belongs to it; name another file, such as"),
        ("out", "out: is a directory; name a file in it, such as ledger-backup.db"),
        ("out/none/copy.db", "there is no such directory; make the directory first, or name another"),
        ("/proc/copy.db", "; name a file in a directory that you may"),  # root is told another cause than others
    ],
)
def test_a_place_that_cannot_be_is_one_line_and_nothing_changes(
    ledger: Path, tmp_path: Path, file: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out/there.db").write_bytes(b"an earlier one")
    (tmp_path / "out/another-name.db").hardlink_to(ledger)
    (tmp_path / "out/link.db").symlink_to(ledger)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.db")}
    options = () if file == "out/there.db" else ("--replace",)
    code, line = refused(backup(ledger, tmp_path / file, *options), capsys)
    assert code == 2 and says in line, line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.db")} == before
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("none", "there is no ledger here yet; run a scan first"),
        ("another program's", "is another program's database"),
        ("empty", "is empty: there is no ledger here yet; run a scan first"),
    ],
)
def test_what_is_no_ledger_is_not_copied(
    tmp_path: Path, what: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ledger.db"
    if what == "empty":
        path.touch()
    elif what != "none":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE images (id INTEGER PRIMARY KEY)")
    (tmp_path / "out").mkdir()
    code, line = refused(backup(path, tmp_path / "out/copy.db"), capsys)
    assert code == 2 and f"{path}: {says}" in line, line
    assert list((tmp_path / "out").iterdir()) == []


def rewrite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE events SET payload = replace(payload, 'srv', 'mnt') WHERE seq = 1")


def damage(path: Path) -> None:
    """Make an index say something else than its table."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE INDEX ix_lost ON runs (kind)")
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_lost'").fetchone()[0]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 + 3 : (page - 1) * 4096 + 5] = b"\0\0"  # no entries
    path.write_bytes(data)


@pytest.mark.parametrize(("spoil", "says"), [(rewrite, "event 1 was altered"), (damage, "is damaged: ")])
def test_a_spoiled_ledger_never_takes_the_place_of_an_earlier_backup(
    ledger: Path, tmp_path: Path, spoil: object, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out/copy.db"
    assert backup(ledger, file) == 0
    capsys.readouterr()
    before = file.read_bytes()
    assert callable(spoil)
    spoil(ledger)
    code, line = refused(backup(ledger, file, "--replace"), capsys)
    assert code == 3 and f"{ledger}: {says}" in line and "backup" in line, line
    assert file.read_bytes() == before and names(file.parent) == ["copy.db"]


def test_an_earlier_backup_stays_until_the_new_one_is_whole(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out/copy.db"
    file.write_bytes(b"an earlier one")

    def interrupt(*_: int) -> None:
        assert file.read_bytes() == b"an earlier one"
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "_between", interrupt)
        assert backup(ledger, file, "--replace") == 130
    assert file.read_bytes() == b"an earlier one" and names(file.parent) == ["copy.db"]
    assert backup(ledger, file, "--replace") == 0 and length(file) == 2


def test_a_name_that_is_taken_meanwhile_stays(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out/copy.db"
    monkeypatch.setattr(sqlite, "_between", lambda *_: file.write_bytes(b"somebody's"))
    code, line = refused(backup(ledger, file), capsys)
    assert code == 2 and "it was made meanwhile, and is left as it is" in line
    assert file.read_bytes() == b"somebody's" and names(file.parent) == ["copy.db"]


def test_a_disk_without_room_is_one_line_before_it_is_filled(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the ledger lies on the same disk, a copy that filled it would stop the daemon."""
    found = list(os.statvfs(tmp_path))
    found[4] = 1  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(found))
    monkeypatch.setattr(sqlite, "_between", lambda *_: pytest.fail("it began to write"))
    code, line = refused(backup(ledger, tmp_path / "out/copy.db"), capsys)
    assert code == 3 and re.search(r"copy.db: the ledger has [\d.]+ MB, and [\d.]+ MB are free there; make room", line)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_can_be_written_no_further_leaves_nothing(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real limit of the kernel's: files may not grow beyond 64 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    try:
        code = backup(ledger, tmp_path / "out/copy.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    code, line = refused(code, capsys)
    assert code == 3 and "copy.db: the disk " in line and ".tmp" not in line, line
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.long
def test_the_documented_way_back_works(ledger: Path, tmp_path: Path) -> None:
    """The commands of docs/operations.md, as they stand; only places and systemctl are this test's own."""
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    found = re.search(r"^\*\*Getting it back.*?^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None and "ledger verify" in found[1]
    assert backup(ledger, tmp_path / "out/ledger-backup.db") == 0
    records = opened(ledger)
    records.begin_run("scan", STORE, {})  # lies in the log, which must not be taken for the copy's
    log = Path(f"{ledger}-wal").read_bytes()
    records.dispose()
    Path(f"{ledger}-wal").write_bytes(log)
    script = found[1].replace("/var/lib/fedi-safety", str(ledger.parent)).replace("/path/to/backups", f"{tmp_path}/out")
    program = " ".join(f"'{word}'" for word in command())
    own = f'set -e\nsystemctl() {{ echo "systemctl $*"; }}\nfedi-safety() {{ {program} "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", own + script],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "FEDI_SAFETY_LEDGER": str(ledger)},
    )  # fmt: skip
    assert done.returncode == 0, done
    said = done.stdout.splitlines()
    assert said[0].startswith("systemctl stop") and said[-1].startswith("systemctl start")
    assert any(line.startswith("the chain of 2 events is whole") for line in said), said
    assert length(ledger) == 2 and stat.S_IMODE(ledger.stat().st_mode) == 0o600
    assert (ledger.parent / "before/ledger.db").exists()
