"""The folder of evidence: for its user alone, whole or not there at all, and never where a store would serve it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety import cli
from fedi_safety.cli.evidence.folder import checked_folder, whole_folder
from fedi_safety.core.errors import UsageError
from support import reported
from support.servers.disk import small_disk

KEY = reported.SHA256.hex()


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def mask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with a store, a configuration, and a ledger that knows a condemned content."""
    (tmp_path / "store").mkdir()
    (tmp_path / "config.toml").write_text(f'store = "{tmp_path / "store"}"\n')
    ledger = reported.ledger_at(tmp_path)
    reported.condemned(ledger)
    ledger.dispose()
    return tmp_path


def evidence(folder: Path, *words: str) -> int:
    common = ("--config", str(folder / "config.toml"), "--ledger", str(folder / "ledger.db"))
    return cli.run(["evidence", *words, *common])


def there(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "home")  # the tests' own


def modes(folder: Path) -> set[tuple[bool, int]]:
    return {(path.is_dir(), path.stat().st_mode & 0o777) for path in (folder, *folder.rglob("*"))}


def test_it_is_for_its_user_alone_whatever_the_umask(mask: None, tmp_path: Path) -> None:
    with whole_folder("out", tmp_path / "out") as folder:
        folder.write("a.txt", "a")
        folder.write("b.txt", "\udcff", below="inner")
    assert modes(tmp_path / "out") == {(True, 0o700), (False, 0o600)}
    assert there(tmp_path) == ["out"] and there(tmp_path / "out") == ["a.txt", "inner"]


def test_a_content_and_a_run(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evidence(desk, KEY, "--out", str(desk / "one")) == 0
    said = capsys.readouterr().out
    assert f"{desk / 'one'}: 13 files, for you alone; the picture is in none of them" in said
    (lacking,) = [line for line in said.splitlines() if "e-mail address of the person" in line]
    assert lacking.endswith("(evidence.email): cybertip.xml") and "(evidence.organization): nca.en.txt, nca.de" in said
    assert modes(desk / "one") == {(True, 0o700), (False, 0o600)}
    (desk / "all").mkdir(mode=0o755)  # an empty one is taken
    assert evidence(desk, "--run", "1", "--out", str(desk / "all")) == 0
    assert there(desk / "all") == [KEY, "index.html", "index.txt"]
    assert there(desk / "all" / KEY) == there(desk / "one")
    assert modes(desk / "all") == {(True, 0o700), (False, 0o600)}
    assert (
        KEY in (desk / "all/index.txt").read_text() and "1 contents of run 1" in (desk / "all/index.html").read_text()
    )
    assert not [name for name in there(desk) if "fedi-safety" in name], "nothing is left beside"


def test_what_is_there_already_is_refused_and_left_alone(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "full").mkdir()
    (desk / "full/mine.txt").write_text("mine")
    (desk / "file").write_text("mine")
    (desk / "link").symlink_to(desk / "full")
    for out, said in (
        ("full", "there is something in it; name a folder that is not there yet, or is empty"),
        ("link", "there is something in it"),
        ("file", "is a file"),
        ("no/where", "there is no such directory"),
        ("store", "whose files are served"),
        ("store/pack", "whose files are served"),
    ):
        assert evidence(desk, KEY, "--out", str(desk / out)) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert said in line and f"--out {desk / out}" in line
    assert there(desk / "full") == ["mine.txt"] and there(desk / "store") == []


def test_what_cannot_be_gathered_leaves_nothing(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (("nothing",), "the ledger knows no such object or content"),
        (("--run", "99"), "there is no such run"),
    ):
        assert evidence(desk, *words, "--out", str(desk / "out")) == 2
        assert said in capsys.readouterr().err
    assert not (desk / "out").exists()


@pytest.mark.parametrize("at", [1, 3])
def test_a_disk_that_is_full_leaves_nothing(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fedi_safety.cli.evidence.folder.os.fsync", full)
    with pytest.raises(UsageError, match="make room"), whole_folder("out", tmp_path / "out") as folder:
        for name in "abcd":
            folder.write(name, name)
    assert there(tmp_path) == []


def test_what_came_there_meanwhile_is_left_alone(tmp_path: Path) -> None:
    place = checked_folder(str(tmp_path / "out"), ())
    with pytest.raises(UsageError, match="there is something in it"), whole_folder("out", place) as folder:
        folder.write("a", "a")
        place.mkdir()
        (place / "mine").write_text("mine")
    assert there(tmp_path) == ["out"] and there(place) == ["mine"]


@pytest.mark.long
@pytest.mark.needs("disk")
def test_a_real_disk_that_is_full_leaves_nothing(
    desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk") as disk:
        disk.fill()
        assert evidence(desk, KEY, "--out", str(tmp_path / "disk/out")) == 2
        assert "make room" in capsys.readouterr().err
        assert there(tmp_path / "disk") == [".ballast"]
        disk.free()
        assert evidence(desk, KEY, "--out", str(tmp_path / "disk/out")) == 0
