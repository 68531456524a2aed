"""The act `seal`: what it leaves behind whatever happens before, between and after."""

from __future__ import annotations

import os
import sys
from hashlib import blake2b, sha256
from pathlib import Path

import pyrage
import pytest

from fedi_safety.acts.seal import SealFirst
from fedi_safety.acts.sealed_file import Contents, Growing, digest_of, identities_of, is_known, opened, recipients_of
from fedi_safety.acts.sealer import _SHORT_TURNS
from fedi_safety.app.sealing import destroy_ended
from fedi_safety.config.schema import Seal, Settings
from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.errors import SealError, SealUsageError
from fedi_safety.core.runs import Tally
from fedi_safety.core.sealing.copies import SealDigest, SealState
from fedi_safety.core.types import Outcome, Plan
from fedi_safety.stores.local import LocalStore
from support.fakes import FakeClock
from support.passes import RED, RED_CIRCLE, Bench
from support.sealing import RememberedSeals, SealedFolder, key, public


class Place:
    """A store of one condemned file and a harmless one, planned to be sealed."""

    def __init__(self, folder: Path, keep_s: float | None = None) -> None:
        (folder / "media").mkdir()
        (folder / "media/bad").write_bytes(RED_CIRCLE)
        (folder / "media/good").write_bytes(RED)
        self.store = LocalStore(str(folder / "media"))
        self.bench = Bench(folder / "ledger.db", self.store)
        self.vault = SealedFolder(folder / "vault", keep_s)
        self.file = folder / "media/bad"
        self.bench.scan(dry_run=True, act=ActKind.SEAL)
        self.outcomes: list[Outcome] = []

    def apply(self, act: SealFirst | None = None) -> Outcome:
        """Carry out what is planned, by an act over a vault of the same folder; return how the last one ended."""
        ledger = self.bench.ledger
        run = ledger.begin_run("apply", self.store.url, {})
        seal = act or self.vault.act(self.store, ledger, self.bench.clock)
        lost = ledger.take_back(run, self.store.url)
        acting = Acting(ledger, {ActKind.SEAL: seal}, run, Tally(), self.outcomes.append)
        acting.carry_out(lost, resumed=True)
        acting.carry_out(ledger.open_plans(self.store.url))
        seal.close()
        return self.outcomes[-1]

    def close(self) -> None:
        assert self.bench.ledger.verify().problem is None
        self.store.close()
        self.bench.close()


def test_the_receipt_names_the_copy_and_nothing_names_the_object(tmp_path: Path) -> None:
    place = Place(tmp_path, keep_s=60.0)
    outcome = place.apply()
    (seal,) = place.bench.ledger.seals()
    assert outcome.state is PlanState.DONE
    assert outcome.receipt == {"sealed": seal.name, "vault": f"file://{tmp_path}/vault"}
    assert outcome.detail.startswith(f"sealed as {seal.name}; verified")
    assert seal.state is SealState.SEALED and seal.expires_at == (seal.made_at or 0) + 60.0
    data = (tmp_path / "vault" / seal.name).read_bytes()
    assert (len(data), seal.name[:-4].isalnum()) == (seal.size, True)
    place.close()


def test_a_copy_in_the_vault_of_an_earlier_configuration_counts(tmp_path: Path) -> None:
    """Killed between recorded and removed, and the vault is another one since: no second copy is made."""
    place = Place(tmp_path)
    before = place.vault.act(place.store, place.bench.ledger, place.bench.clock)
    ledger = place.bench.ledger
    run = ledger.begin_run("apply", place.store.url, {})
    (plan,) = ledger.start(run, list(ledger.open_plans(place.store.url)))

    class Killed(Exception):
        pass

    class Removes:
        kind = ActKind.DELETE

        def perform(self, plan: Plan) -> Outcome:
            raise Killed

    with pytest.raises(Killed):
        place.vault.act(place.store, ledger, place.bench.clock, then=Removes()).perform(plan)
    before.close()
    place.vault = SealedFolder(tmp_path / "another")
    assert place.apply().state is PlanState.DONE
    assert place.vault.names() == []
    assert len(SealedFolder(tmp_path / "vault").opened()) == len(ledger.seals()) == 1
    place.close()


def test_what_an_act_left_that_never_ended_is_destroyed_and_what_is_held_is_not(tmp_path: Path) -> None:
    place = Place(tmp_path, keep_s=10.0)
    ledger = place.bench.ledger
    (plan,) = ledger.open_plans(place.store.url)
    reserved = ledger.reserve_seals([plan], "file:///vault")[plan.id]
    assert ledger.reserve_seals([plan], "file:///vault")[plan.id] == reserved
    assert ledger.due_seals(9) == []
    other = ledger.reserve_seals([plan], "file:///other")[plan.id]
    assert other.name != reserved.name and [seal.id for seal in ledger.due_seals(9)] == [reserved.id]
    ledger.dismiss(plan.sha256, "a person looked")
    assert [seal.id for seal in ledger.due_seals(9)] == [reserved.id, other.id]
    for seal in ledger.due_seals(9):
        assert ledger.start_destroying(None, seal)
        ledger.end_destroying(None, seal, "destroyed")
        ledger.end_destroying(None, seal, "again")
    assert [seal.detail for seal in ledger.seals()] == ["destroyed"] * 2
    place.close()


def test_a_hold_wins_until_the_moment_before(tmp_path: Path) -> None:
    place = Place(tmp_path, keep_s=-1.0)
    place.apply()
    ledger = place.bench.ledger
    (due,) = ledger.due_seals(9)
    held = ledger.hold_seal(due, "the police asked")
    assert held.held == "the police asked" and not ledger.start_destroying(None, due) and ledger.due_seals(9) == []
    ledger.release_seal(due)
    assert ledger.start_destroying(None, due)
    place.close()


def test_what_is_over_waits_for_a_vault_that_is_away_and_is_finished_after_a_kill(tmp_path: Path) -> None:
    place = Place(tmp_path, keep_s=-1.0)
    place.apply()
    ledger, settings = place.bench.ledger, Settings(seal=Seal(vault=str(tmp_path / "vault")))
    away = (tmp_path / "vault").rename(tmp_path / "away")
    gone, problems = destroy_ended(settings, ledger, None)
    assert gone == 0 and len(problems) == 1 and "there is no such directory" in problems[0]
    (seal,) = ledger.due_seals(9)
    assert seal.state is SealState.SEALED
    away.rename(tmp_path / "vault")
    assert ledger.start_destroying(None, seal)  # and killed
    assert destroy_ended(settings, ledger, None) == (1, [])
    assert place.vault.names() == [] and ledger.due_seals(9) == []
    assert [each.state for each in ledger.seals()] == [SealState.DESTROYED]
    place.close()


@pytest.mark.parametrize("column", ["vault", "name", "held", "expires_at"])
def test_a_row_that_was_altered_is_found(tmp_path: Path, column: str) -> None:
    place = Place(tmp_path)
    place.apply()
    ledger = place.bench.ledger
    assert ledger.verify().problem is None
    with ledger.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE seals SET {column} = '1'")
    assert "is not what its last event says" in (ledger.verify().problem or "")
    with ledger.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM seals")
    assert "events tell of 1 sealed copies, and there are 0" in (ledger.verify().problem or "")
    place.store.close()
    place.bench.close()


@pytest.mark.parametrize("alike", [False, True])
def test_what_changed_meanwhile_is_neither_sealed_nor_removed(tmp_path: Path, alike: bool) -> None:
    """Not even where size and times are what they were: only what was judged is sealed."""
    place = Place(tmp_path)
    was = place.file.stat()
    place.file.write_bytes(RED_CIRCLE[::-1] if alike else b"pic another")
    os.utime(place.file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert place.apply().state is PlanState.CHANGED
    assert place.vault.names() == []
    place.close()


def test_what_is_gone_is_not_sealed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.file.unlink()
    ledger = place.bench.ledger
    run = ledger.begin_run("apply", place.store.url, {})
    (plan,) = ledger.start(run, list(ledger.open_plans(place.store.url)))
    outcome = place.vault.act(place.store, ledger, place.bench.clock).perform(plan)
    assert outcome.state is PlanState.GONE and "nothing to seal" in outcome.detail
    assert place.vault.names() == []
    place.close()


def test_a_copy_that_is_spoiled_between_recorded_and_removed_is_made_anew(tmp_path: Path) -> None:
    place = Place(tmp_path)
    seals = RememberedSeals()
    (plan,) = place.bench.ledger.open_plans(place.store.url)

    class Fails:
        kind = ActKind.DELETE

        def perform(self, plan: Plan) -> Outcome:
            return Outcome(plan, PlanState.FAILED, "not now")

    assert place.vault.act(place.store, seals, FakeClock(), then=Fails()).perform(plan).state is PlanState.FAILED
    (name,) = place.vault.names()
    file = tmp_path / "vault" / name
    first = file.read_bytes()
    assert place.vault.act(place.store, seals, FakeClock(), then=Fails()).perform(plan).state is PlanState.FAILED
    assert file.read_bytes() == first, "a copy that stands is not made again"
    file.write_bytes(first[:-1])
    assert place.vault.act(place.store, seals, FakeClock()).perform(plan).state is PlanState.DONE
    assert [each.data for each in place.vault.opened().values()] == [RED_CIRCLE]
    place.close()


@pytest.mark.parametrize("which", ["seal", "opens"])
def test_what_does_not_come_to_its_end_in_memory_leaves_no_file_and_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """It is written while it is made: half of a sealed file must not look like one."""
    place = Place(tmp_path)

    def fails(_contents: Contents, _keys: object, _once: object, into: Growing) -> memoryview:
        into.write(b"age-encryption.org/v1")
        into.end(error := SealError("seal", "age cannot seal it", "see to its keys"))
        raise error

    with monkeypatch.context() as broken:
        if which == "seal":
            broken.setattr(Contents, "seal", fails)
        else:
            broken.setattr(Contents, "opens", lambda *_: False)
        outcome = place.apply()
    assert outcome.state is PlanState.FAILED and place.file.read_bytes() == RED_CIRCLE
    assert ("age cannot seal it" if which == "seal" else "does not open") in outcome.detail
    assert which == "opens" or place.vault.names() == []
    assert place.bench.ledger.seals()[0].state is SealState.RESERVED
    assert place.apply().state is PlanState.DONE
    assert [each.data for each in place.vault.opened().values()] == [RED_CIRCLE]
    place.close()


def test_turns_of_threads_are_as_they_were_when_nobody_seals() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)  # whatever tests before this one left
    try:
        with _SHORT_TURNS:
            with _SHORT_TURNS:
                assert sys.getswitchinterval() < 0.005
            assert sys.getswitchinterval() < 0.005
        assert sys.getswitchinterval() == pytest.approx(0.005)
    finally:
        sys.setswitchinterval(before)


# --- the file


def test_who_reads_what_cannot_be_sealed_to_its_end_is_told() -> None:
    contents = Contents({}, bytes(300_000), 0.0)
    too_small = Growing(bytearray(100_000))
    with pytest.raises(SealError, match="age cannot seal it"):
        contents.seal([key().to_public()], key(), too_small)
    with pytest.raises(SealError, match="age cannot seal it"):
        list(too_small.pieces())


def test_copies_that_were_recorded_by_the_hash_of_earlier_versions_are_known_again() -> None:
    data = b"a sealed file"
    before = blake2b(data, digest_size=32).digest()
    now = digest_of((data[:5], data[5:]))
    assert (SealDigest.told(before), SealDigest.told(now)) == (
        (SealDigest.BLAKE2B, before),
        (SealDigest.SHA256, sha256(data).digest()),
    )
    for kept in (before, now):
        assert is_known(data, kept) and not is_known(data + b"x", kept)
    assert not is_known(data, None)


def test_every_recipient_opens_it_and_nobody_else() -> None:
    first, second, other = (pyrage.x25519.Identity.generate() for _ in range(3))
    manifest = {"sha256": sha256(b"data").hexdigest()}
    contents = Contents(manifest, b"data", 0.0)
    sealed = bytes(contents.seal([first.to_public()], second, Growing(bytearray(contents.room(2)))))
    for identity in (first, second):
        assert contents.opens(sealed, identity)
        assert opened("file", sealed, [identity]).data == b"data"
    assert not contents.opens(sealed, other)
    with pytest.raises(SealUsageError, match="it was not sealed for this key"):
        opened("file", sealed, [other])
    assert not Contents(manifest, b"date", 0.0).opens(sealed, first), "another content is another content"
    assert not Contents(manifest, b"data and more", 0.0).opens(sealed, first)


@pytest.mark.parametrize("at", [0, 1, 30, 100, 250, -1, -17, -600])
def test_a_byte_that_changed_anywhere_opens_nothing(at: int) -> None:
    contents = Contents({"sha256": "00"}, b"data" * 100, 0.0)
    sealed = bytearray(contents.seal([], key(), Growing(bytearray(contents.room(1)))))
    sealed[at] ^= 1
    assert not contents.opens(bytes(sealed), key())
    with pytest.raises((SealError, SealUsageError)):
        opened("file", bytes(sealed), [key()])


def test_ssh_keys_are_recipients_as_well() -> None:
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPdhQ9sQAvBqQf8nGuRQzZ2kQwTCgsOcwxAqzgRPPZmN somebody"
    assert len(recipients_of([line, line, public()])) == 2


def test_no_secret_is_repeated() -> None:
    for secret in (str(key()), "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----"):
        with pytest.raises(SealUsageError, match="it is a secret key") as caught:
            recipients_of([public(), secret])
        assert "number 2" in str(caught.value) and secret[-20:] not in str(caught.value)
    assert [str(identity) for identity in identities_of("-", f"# x\n{key()}\n".encode())] == [str(key())]
