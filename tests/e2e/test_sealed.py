"""Sealed copies as an administrator has them: sealed, looked at, kept, opened, put back; and what bad input gets."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
import pytest

from fedi_safety.cli.sealed.unseal_cmd import _write
from fedi_safety.config.loading import load_settings
from fedi_safety.core.errors import UsageError
from fedi_safety.core.sealing.copies import Seal
from fedi_safety.ledger.ledger import open_ledger
from support import needs, stand_in
from support.corpus import shapes
from support.fakes import FakeClock
from support.program import Done, check_one_line_error, program
from support.sealing import key, public

PICTURES = {f"{what.seed}.png": shapes.png_bytes(what) for what in shapes.held_out(8, 50_000_000)}


@dataclass
class Instance:
    """A folder of pictures of which some are condemned, its vault, its ledger and the operator's key."""

    folder: Path
    stamps: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in ("media", "vault"):
            (self.folder / part).mkdir()
        for number, (name, data) in enumerate(PICTURES.items()):
            path = self.folder / "media" / name
            path.write_bytes(data)
            self.stamps[name] = 1_500_000_000_123_456_789 + number
            os.utime(path, ns=(self.stamps[name], self.stamps[name]))
        self.configure("[law]", 'preset = "seal-and-hold"')
        (self.folder / "key.txt").write_text(f"# created: today\n# public key: {public()}\n{key()}\n")

    def configure(self, *more: str, vault: str = "", recipients: str | None = None) -> None:
        place = vault or str(self.folder / "vault")
        seal = ["[seal]", f'recipients = ["{public() if recipients is None else recipients}"]', f'vault = "{place}"']
        stand_in.write_config(self.folder, self.folder / "media", "\n".join([*seal, *more]))

    def run(self, *arguments: str) -> Done:
        ledger = str(self.folder / "ledger.db")
        return program(*arguments, "--config", str(self.folder / "config.toml"), "--ledger", ledger)

    def seal(self) -> None:
        assert self.run("scan", "--dry-run").code == 0
        done = self.run("apply", "--yes", "--resume-acts")
        assert done.code == 0, done

    def seals(self, now: float = 1_700_000_000.0) -> list[Seal]:
        ledger = open_ledger(self.folder / "ledger.db", clock=FakeClock(now), readonly=True)
        try:
            assert ledger.verify().problem is None
            return ledger.seals()
        finally:
            ledger.dispose()

    @property
    def identity(self) -> str:
        return str(self.folder / "key.txt")


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return Instance(tmp_path)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Instance:
    """One for the tests that change nothing but a word or two in the ledger."""
    made = Instance(tmp_path_factory.mktemp("sealed"))
    made.seal()
    return made


@pytest.mark.long
def test_a_removal_is_taken_back_byte_for_byte_and_stays(instance: Instance) -> None:
    """The preset of law is the choice; nobody was asked for an action."""
    instance.seal()
    seals = instance.seals()
    gone = sorted(seal.key for seal in seals)
    assert gone and sorted(p.name for p in (instance.folder / "media").iterdir()) == sorted(set(PICTURES) - set(gone))
    assert sorted(p.name for p in (instance.folder / "vault").iterdir()) == sorted(seal.name for seal in seals)
    assert all(seal.expires_at is not None and seal.made_at is not None for seal in seals)
    assert {round((seal.expires_at or 0) - (seal.made_at or 0)) for seal in seals} == {30 * 86_400}
    for seal in seals:
        assert seal.key not in (text := (instance.folder / "vault" / seal.name).read_bytes().decode("latin-1"))
        assert seal.sha256.hex() not in text
    done = instance.run("restore", gone[0], "--identity", instance.identity)
    assert done.code == 2 and "what will not come back:\n  the change time and the inode are new" in done.out
    assert not (instance.folder / "media" / gone[0]).exists()
    path = instance.folder / "media" / gone[0]
    path.write_bytes(b"another")
    done = instance.run("restore", gone[0], "--identity", instance.identity, "--yes")
    assert done.code == 2 and "something stands there already" in done.err, done
    assert "nothing was put back; its verdict is dismissed" in done.err and path.read_bytes() == b"another"
    path.unlink()
    done = instance.run("restore", gone[0], "--identity", instance.identity, "--yes")
    assert done.code == 0 and "restored, as it was" in done.out, done
    assert path.read_bytes() == PICTURES[gone[0]] and path.stat().st_mtime_ns == instance.stamps[gone[0]]
    done = instance.run("restore", gone[0], "--identity", instance.identity, "--yes")
    assert done.code == 0 and "it is there already" in done.out
    done = instance.run("scan", "--json")
    assert done.json["block"] == 0 and path.exists(), done
    assert "restored at 20" in instance.run("show", gone[0]).out


@pytest.mark.long
def test_what_is_over_is_destroyed_and_what_is_held_stays(instance: Instance) -> None:
    instance.configure("keep_days = 0.00001")
    assert instance.run("scan", "--without-dry-run", "--act", "seal", "--resume-acts").code == 0
    names = {seal.key: seal.name for seal in instance.seals()}
    held, *over = sorted(names)
    assert instance.run("hold", held, "--reason", "the police asked").code == 0
    time.sleep(
        max(0.0, max(seal.expires_at or 0.0 for seal in instance.seals()) - time.time())
    )  # a quick machine waits
    done = instance.run("apply", "--yes")
    assert done.code == 0, done
    assert [p.name for p in (instance.folder / "vault").iterdir()] == [names[held]]
    check_one_line_error(instance.run("hold", over[0], "--reason", "late"), 2, "its sealed copy is gone: destroyed")
    assert instance.run("release", held).code == 0
    assert instance.run("apply", "--yes").code == 0
    assert list((instance.folder / "vault").iterdir()) == []
    assert {seal.state.value for seal in instance.seals()} == {"destroyed"}


@pytest.mark.long
def test_a_year_counts_from_the_day_that_it_was_filed(instance: Instance) -> None:
    instance.configure("[law]", 'preset = "report-and-preserve"')
    instance.seal()
    one = instance.seals()[0].key
    assert instance.seals()[0].expires_at is None
    filed = ("filed", one, "--authority", "NCMEC", "--reference", "4711")
    check_one_line_error(instance.run(*filed, "--at", "2999-01-01"), 2, "that is yet to come")
    check_one_line_error(instance.run(*filed, "--at", "yesterday"), 2, "that is no date")
    done = instance.run(*filed, "--at", "2026-11-01")
    assert done.code == 0 and "kept until 2027-11-01T00:00:00+00:00" in done.out, done
    doctor = instance.run("doctor")
    assert f"{len(instance.seals()) - 1} were never filed" in doctor.out


@pytest.mark.long
def test_opened_into_a_file_that_nobody_else_can_read(sealed: Instance, tmp_path: Path) -> None:
    seal = sealed.seals()[-1]
    out = tmp_path / "out.png"
    done = sealed.run("unseal", seal.key, "--identity", sealed.identity, "--out", str(out))
    assert done.code == 0 and out.read_bytes() == PICTURES[seal.key], done
    assert out.stat().st_mode & 0o777 == 0o600
    assert "seal.unsealed" in sealed.run("show", seal.key).out
    again = sealed.run("unseal", seal.key, "--identity", sealed.identity, "--out", str(out))
    check_one_line_error(again, 2, "name a file that is not there yet")
    file = sealed.folder / "vault" / seal.name
    alone = program("unseal", str(file), "--identity", sealed.identity, "--out", str(tmp_path / "two.png"))
    assert alone.code == 0 and (tmp_path / "two.png").read_bytes() == PICTURES[seal.key], alone


def test_copies_are_listed(sealed: Instance) -> None:
    seals = sealed.seals()
    lines = sealed.run("list", "--sealed").out.splitlines()
    assert [line.split("\t")[1] for line in lines] == [seal.key for seal in seals]
    assert all(
        f"sealed copy {seal.name}" in line and "kept until" in line for seal, line in zip(seals, lines, strict=True)
    )
    one = sealed.run("list", "--sealed", "--prefix", seals[0].key, "--limit", "1", "--json").json
    assert (one["key"], one["state"]) == (seals[0].key, "sealed")
    check_one_line_error(sealed.run("list", "--sealed", "--act", "done"), 2, "--sealed: it lists copies")


@pytest.mark.needs("age")
def test_age_and_tar_open_it_without_us(sealed: Instance, tmp_path: Path) -> None:
    needs.started("age")
    for seal in sealed.seals():
        file = sealed.folder / "vault" / seal.name
        opened = subprocess.run(["age", "-d", "-i", sealed.identity, str(file)], capture_output=True, check=True)
        subprocess.run(["tar", "x", "-C", str(tmp_path)], input=opened.stdout, check=True)
        assert (tmp_path / "object").read_bytes() == PICTURES[seal.key]
        assert hashlib.sha256((tmp_path / "object").read_bytes()).digest() == seal.sha256
        assert f'"key": "{seal.key}"' in (tmp_path / "manifest.json").read_text()
    made = tmp_path / "new.txt"
    subprocess.run(["age-keygen", "-o", str(made)], capture_output=True, check=True)
    wrong = sealed.run("unseal", sealed.seals()[0].key, "--identity", str(made), "--out", str(tmp_path / "no"))
    check_one_line_error(wrong, 2, "it was not sealed for this key")
    assert not (tmp_path / "no").exists()


# --- what bad input gets: one line, the right code, and nothing written or lost


@pytest.mark.long
def test_a_sealed_file_that_is_not_what_it_was_restores_nothing(sealed: Instance, tmp_path: Path) -> None:
    seal = sealed.seals()[0]
    file, out = sealed.folder / "vault" / seal.name, tmp_path / "out"
    whole = file.read_bytes()
    for spoiled in (whole[:-100], whole[:-9] + b"x" + whole[-8:], whole + b"!"):
        file.write_bytes(spoiled)
        done = sealed.run("restore", seal.key, "--identity", sealed.identity, "--yes")
        check_one_line_error(done, 3, "it is cut or changed")
        # Named by its path there is no record to compare with: what is inside tells.
        alone = program("unseal", str(file), "--identity", sealed.identity, "--out", str(out))
        check_one_line_error(alone, 3, "it is cut or changed")
        assert not out.exists()
    file.unlink()
    done = sealed.run("restore", seal.key, "--identity", sealed.identity, "--yes")
    check_one_line_error(done, 3, "there is no such sealed file")
    file.write_bytes(whole)
    assert not (sealed.folder / "media" / seal.key).exists()


@pytest.mark.long
def test_keys_that_are_none(sealed: Instance, tmp_path: Path) -> None:
    seal = sealed.seals()[0]
    other = tmp_path / "other.txt"
    for text, said in (
        (str(pyrage.x25519.Identity.generate()), "it was not sealed for this key"),
        (public(), "it is a public key, which opens nothing"),
        ("# nothing\n", "there is no key in it"),
        ("AGE-SECRET-KEY-1NOTREALLY", "it holds no secret key"),
        ("age-encryption.org/v1\n-> scrypt", "it is protected by a passphrase"),
    ):
        other.write_text(text)
        done = sealed.run("restore", seal.key, "--identity", str(other), "--yes")
        check_one_line_error(done, 2, said)
        assert "NOTREALLY" not in done.err
    check_one_line_error(
        sealed.run("restore", seal.key, "--identity", str(tmp_path / "none"), "--yes"), 2, "cannot be read"
    )


def test_recipients_that_are_none_and_vaults_that_cannot_be(instance: Instance) -> None:
    secret = str(key())
    instance.configure(recipients=secret)
    done = instance.run("scan", "--dry-run", "--act", "seal")
    check_one_line_error(done, 2, "seal.recipients", "one of them is a secret key", "better make a new key")
    assert secret not in done.err and secret[20:] not in done.err
    for recipients, vault, said in (
        ("age1nothing", "", "is no public key of age or ssh"),
        ("someone@example.org", "", "is no public key of age or ssh"),
        (public(), str(instance.folder / "media"), "whose files are served and scanned"),
        (public(), str(instance.folder / "media/sealed"), "whose files are served and scanned"),
        (public(), "pictrs+http://127.0.0.1:8080", "a pict-rs is no vault"),
        (public(), "ftp://host/x", "there are no ftp:// stores"),
    ):
        if vault.endswith("sealed"):
            Path(vault).mkdir()
        instance.configure(recipients=recipients, vault=vault)
        check_one_line_error(instance.run("scan", "--dry-run", "--act", "seal"), 2, said)
    instance.configure(vault=str(instance.folder / "elsewhere"))
    done = instance.run("scan", "--without-dry-run", "--act", "seal", "--resume-acts")
    check_one_line_error(done, 2, "there is no such directory; make it: mkdir -m 700")
    shutil.rmtree(instance.folder / "media/sealed")
    assert sorted(p.name for p in (instance.folder / "media").iterdir()) == sorted(PICTURES)


def test_a_hold_on_what_was_never_sealed(sealed: Instance) -> None:
    there = next(name for name in PICTURES if name not in {seal.key for seal in sealed.seals()})
    check_one_line_error(sealed.run("hold", there, "--reason", "x"), 2, "there is no sealed copy of it")
    check_one_line_error(sealed.run("hold", "nothing", "--reason", "x"), 2, "the ledger knows no such object")
    check_one_line_error(sealed.run("hold", sealed.seals()[0].key, "--reason", " "), 2, "--reason: it says nothing")


def test_a_terminal_shows_no_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="standard output is a terminal"):
        _write("-", b"a picture")


# --- setting it up


def test_init_proposes_seal_and_hold_first_where_a_key_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.terminal import on_terminal

    for name, folder in (("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "data"), ("HOME", "home")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    (tmp_path / "media").mkdir()
    place = tmp_path / "made.toml"
    given = ("--server", "other", "--store", str(tmp_path / "media"), "--detectors", "embedded", "--config", str(place))
    vault = tmp_path / "vault"
    vault.mkdir()
    done = on_terminal(
        "init", *given, "--recipient", public(), "--vault", str(vault), answers=(("Enter: seal-and-hold", ""),)
    )
    assert done.code == 0, done.out
    settings = load_settings(str(place))
    assert (settings.act, settings.law.preset, settings.seal.recipients) == (None, "seal-and-hold", (public(),))
    assert settings.seal.vault == str(vault) and list(vault.iterdir()) == []
    place.unlink()
    asked = (("Enter: report", "seal-and-hold"), ("choose again", ""), ("Your choice", "seal-and-hold"))
    keys = (("choose again", str(key())), ("choose again", public()))
    done = on_terminal("init", *given, answers=(*asked, *keys))
    assert done.code == 0 and "or choose report for now" in done.out and "it is a secret key" in done.out, done.out
    settings = load_settings(str(place))
    assert (settings.act, settings.law.preset, settings.seal.recipients) == (None, "seal-and-hold", (public(),))
    assert settings.seal.vault == str(tmp_path / "data" / "fedi-safety" / "vault")
    place.unlink()
    check_one_line_error(program("init", *given, "--act", "seal-and-hold"), 2, "give --recipient")
    check_one_line_error(program("init", *given, "--act", "report", "--recipient", str(key())), 2, "it is a secret key")
    assert not place.exists()
