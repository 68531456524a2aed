"""Seals of a group: two in hand at once, whatever fails or ends before; and the stream of age that they are made by."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pyrage
import pytest

from fedi_safety.acts import sealer
from fedi_safety.acts.age_stream import PIECE_BYTES, NoHeader, Stream, header_for, pieces_of
from fedi_safety.acts.seal import SealFirst
from fedi_safety.acts.sealed_file import Contents, Growing
from fedi_safety.acts.sealer import Proved, Sealer, _Begun, _Coming, _Turn
from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.errors import StoreError
from fedi_safety.core.runs import Tally
from fedi_safety.core.sealing.copies import SealState
from fedi_safety.core.types import Object, Outcome, Plan
from fedi_safety.stores.local import LocalStore
from fedi_safety.stores.vaults.local import LocalDraft, LocalVault
from support.passes import RED_CIRCLE, Bench
from support.sealing import SealedFolder, key, open_within

_LONG_S = 20.0  # until a test gives up waiting


class Group:
    """A store of condemned files, planned to be sealed."""

    def __init__(self, folder: Path, count: int = 3) -> None:
        (folder / "media").mkdir()
        self.files = {f"bad{number}": RED_CIRCLE + b" n=%d" % number for number in range(count)}
        for name, data in self.files.items():
            (folder / "media" / name).write_bytes(data)
        self.media = folder / "media"
        self.store = LocalStore(str(self.media))
        self.bench = Bench(folder / "ledger.db", self.store)
        self.vault = SealedFolder(folder / "vault")
        self.bench.scan(dry_run=True, act=ActKind.SEAL)
        self.outcomes: list[Outcome] = []

    def apply(self, keep_going: Callable[[], bool] = lambda: True, acting_by: type[Acting] = Acting) -> bool:
        ledger = self.bench.ledger
        run = ledger.begin_run("apply", self.store.url, {})
        act = self.vault.act(self.store, ledger, self.bench.clock)
        acting = acting_by(ledger, {ActKind.SEAL: act}, run, Tally(), self.outcomes.append)
        try:
            return acting.carry_out(ledger.open_plans(self.store.url), keep_going)
        finally:
            act.close()

    def left(self) -> set[str]:
        return {path.name for path in self.media.iterdir()}

    def check_all_sealed(self) -> None:
        assert self.left() == set()
        assert sorted(each.data for each in self.vault.opened().values()) == sorted(self.files.values())
        assert self.vault.names() == sorted(seal.name for seal in self.bench.ledger.seals(states=[SealState.SEALED]))
        assert self.bench.ledger.verify().problem is None

    def close(self) -> None:
        self.store.close()
        self.bench.close()


def within(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + _LONG_S
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    return condition()


def test_the_next_is_read_while_one_is_written_and_names_are_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, read, first = Group(tmp_path), list[str](), list[str]()
    planned = [plan.object.key for plan in group.bench.ledger.open_plans(group.store.url)]
    whole_put, whole_fetch = LocalVault.put, LocalStore.fetch_into

    def fetch(store: LocalStore, obj: Object, *rest: Any) -> None:
        read.append(obj.key)
        return whole_fetch(store, obj, *rest)

    def put(vault: LocalVault, name: str, pieces: Any) -> None:
        if not first:
            first.append(name)
            assert within(lambda: len(read) == 2), "nothing else was begun beside it"
            assert group.left() == set(group.files), "and nothing has gone yet"
            names = group.bench.ledger.seals()
            assert len(names) == 3 and {seal.state for seal in names} == {SealState.RESERVED}
        whole_put(vault, name, pieces)

    monkeypatch.setattr(LocalVault, "put", put)
    monkeypatch.setattr(LocalStore, "fetch_into", fetch)
    assert group.apply()
    assert [outcome.state for outcome in group.outcomes] == [PlanState.DONE] * 3
    assert [outcome.plan.object.key for outcome in group.outcomes] == planned
    assert sorted(read) == sorted(planned)
    group.check_all_sealed()
    group.close()


def test_what_is_told_to_stop_leaves_no_file_of_what_was_sealed_ahead(tmp_path: Path) -> None:
    """Ctrl-C while the second is made already: its object waits again, and its file is gone."""
    group = Group(tmp_path)

    def stop_once_more_is_made() -> bool:
        if not group.outcomes and not group.vault.folder.exists():
            return True
        if len(group.left()) == 3:
            return True
        assert within(lambda: len(list(group.vault.folder.glob("*.age"))) == 3), "nothing was sealed ahead"
        return False

    assert not group.apply(stop_once_more_is_made)
    assert [outcome.state for outcome in group.outcomes] == [PlanState.DONE]
    assert len(group.left()) == 2
    states = sorted((seal.state, seal.name) for seal in group.bench.ledger.seals())
    assert [state for state, _ in states] == [SealState.RESERVED] * 2 + [SealState.SEALED]
    assert group.vault.names() == [states[-1][1]], "an orphan"
    assert group.apply()
    group.check_all_sealed()
    assert len(group.bench.ledger.seals()) == 3, "a second name for one act"
    group.close()


def test_an_error_amid_a_group_leaves_no_file_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(tmp_path)

    class Killed(Exception):
        pass

    def killed(store: LocalStore, obj: Object, sha256: bytes) -> None:
        assert within(lambda: len(list(group.vault.folder.glob("*.age"))) == 3)
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(LocalStore, "remove", killed)
        with pytest.raises(Killed):
            group.apply()
    (recorded,) = group.bench.ledger.seals(states=[SealState.SEALED])
    assert group.vault.names() == [recorded.name] and group.left() == set(group.files)
    group.close()


def test_one_that_fails_stays_and_the_others_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(tmp_path, 4)
    whole = Contents.opens

    def fails(contents: Contents, *rest: Any) -> bool:
        if group.files["bad1"] in b"".join(contents.pieces()):
            raise StoreError("vault", "No space left on device", "see to its disk")
        return whole(contents, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(Contents, "opens", fails)
        assert group.apply()
    (failed,) = [outcome for outcome in group.outcomes if outcome.state is not PlanState.DONE]
    assert failed.state is PlanState.FAILED and failed.plan.object.key == "bad1"
    assert "No space left on device" in failed.detail and group.left() == {"bad1"}
    assert group.apply()
    group.check_all_sealed()
    group.close()


def test_nothing_is_sealed_for_a_group_that_the_breaker_stops(tmp_path: Path) -> None:
    """What is got ready is of the group in hand alone, and the breaker is asked before each group."""
    group = Group(tmp_path, 7)
    asked = []

    class Tripping(Acting):
        def refuses(self, plans: Any) -> bool:
            asked.append(len(list(plans)))
            return len(asked) == 2

    assert not group.apply(acting_by=Tripping)
    assert asked == [4, 3] and len(group.left()) == 3
    assert len(group.vault.names()) == 4 == len(group.bench.ledger.seals())
    group.close()


def test_no_more_than_two_are_in_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group, guard, inside, most = Group(tmp_path, 9), threading.Lock(), [0], [0]
    whole = Sealer._make

    def counted(*args: Any, **kwargs: Any) -> Any:
        with guard:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        try:
            time.sleep(0.01)
            return whole(*args, **kwargs)
        finally:
            with guard:
                inside[0] -= 1

    monkeypatch.setattr(Sealer, "_make", counted)
    assert group.apply()
    assert most[0] == 2
    group.check_all_sealed()
    group.close()


@pytest.mark.parametrize(
    ("takes_whole", "sizes", "beside"),
    [
        (False, (100, 100), True),
        (False, (1, 100), True),
        (True, (100, 100), False),
        (True, (30, 100), True),
        (True, (4, 4), True),
    ],
)
def test_together_they_take_four_times_the_larger_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes_whole: bool, sizes: tuple[int, int], beside: bool
) -> None:
    """Where the vault has each once more in memory, two large ones are one after another."""
    monkeypatch.setattr(LocalVault, "takes_whole", takes_whole)
    (tmp_path / "vault").mkdir()
    vault = LocalVault(str(tmp_path / "vault"))
    either: list[Any] = [
        _Coming(Plan(number, Object("", size << 20, 0), b"", ActKind.SEAL, PlanState.STARTED), None, vault, None)  # type: ignore[arg-type]
        for number, size in enumerate(sizes)
    ]
    made = Sealer(None, [], None)  # type: ignore[arg-type]
    assert made._fits(either[0])
    made._begun[0] = _Begun(either[0], _Turn(), None)  # type: ignore[arg-type]
    assert made._fits(either[1]) is beside
    times = 3 if takes_whole else 2
    assert not beside or times * sum(sizes) << 20 <= max(4 * max(sizes) << 20, sealer._SMALL_BYTES)
    vault.close()


# --- what is foreseen


def foreseeing(group: Group, meanwhile: Callable[[SealFirst], object] = lambda _: None) -> None:
    """Foresee all that is planned, let something happen meanwhile, and apply."""
    ledger = group.bench.ledger
    act = group.vault.act(group.store, ledger, group.bench.clock)
    try:
        plans = list(ledger.open_plans(group.store.url))
        for plan in plans:
            act.foresee(plan.object, plan.sha256)
        assert len(act._sealer._drafted) == min(4, len(plans)), "nothing was got ready: this test proves nothing"
        wait([each.end for each in act._sealer._drafted.values()])
        meanwhile(act)
        run = ledger.begin_run("apply", group.store.url, {})
        acting = Acting(ledger, {ActKind.SEAL: act}, run, Tally(), group.outcomes.append)
        acting.carry_out(ledger.open_plans(group.store.url))
    finally:
        act.close()


def nameless(group: Group) -> list[str]:
    """Return which files without a name this process has open in the vault."""
    return open_within(group.vault.folder)


def test_what_is_foreseen_is_proved_before_it_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(tmp_path)

    def meanwhile(act: SealFirst) -> None:
        ends = [each.end.result() for each in act._sealer._drafted.values()]
        assert all(isinstance(end, Proved) for end in ends) and len(ends) == len(nameless(group)) == 3
        assert group.vault.names() == [] == group.bench.ledger.seals() and group.left() == set(group.files)

    monkeypatch.setattr(LocalVault, "put", lambda *_: pytest.fail("it was sealed again"))
    foreseeing(group, meanwhile)
    assert [outcome.state for outcome in group.outcomes] == [PlanState.DONE] * 3
    assert nameless(group) == []
    group.check_all_sealed()
    group.close()


def test_of_more_than_a_group_the_first_are_foreseen(tmp_path: Path) -> None:
    group = Group(tmp_path, 6)
    foreseeing(group)
    assert nameless(group) == []
    group.check_all_sealed()
    group.close()


def test_what_is_foreseen_and_not_asked_for_leaves_nothing(tmp_path: Path) -> None:
    group = Group(tmp_path)
    act = group.vault.act(group.store, group.bench.ledger, group.bench.clock)
    for plan in group.bench.ledger.open_plans(group.store.url):
        act.foresee(plan.object, plan.sha256)
    assert len(nameless(group)) == 3
    act.close()
    assert nameless(group) == [] == group.vault.names()
    assert group.left() == set(group.files) and group.bench.ledger.seals() == []
    group.close()


@pytest.mark.parametrize("what", ["mode", "content"])
def test_what_is_foreseen_and_then_changed_is_read_again(tmp_path: Path, what: str) -> None:
    """Of an object whose mode was changed meanwhile, the copy has the mode that it has when it is removed."""
    group = Group(tmp_path, 1)
    path = group.media / "bad0"

    def meanwhile(_: SealFirst) -> None:
        if what == "mode":
            path.chmod(0o604)
        else:
            path.write_bytes(group.files["bad0"] + b"x")

    foreseeing(group, meanwhile)
    (outcome,) = group.outcomes
    if what == "mode":
        (copy,) = group.vault.opened().values()
        assert outcome.state is PlanState.DONE and copy.manifest["described"]["mode"] == 0o604
    else:
        assert outcome.state is PlanState.CHANGED and group.vault.names() == [] and path.exists()
    assert nameless(group) == []
    group.close()


@pytest.mark.parametrize("where", ["put", "holds", "named", "opens", "memory"])
def test_what_is_foreseen_and_fails_is_sealed_when_its_time_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A fault before an object is planned is not said of it, and no file that was not proved gets a name."""
    group = Group(tmp_path)
    full = StoreError("vault", "No space left on device", "see to its disk")
    whole, failed = Contents.opens, list[str]()

    def fails(*_: Any) -> bool:
        failed.append(where)
        if where == "memory":
            raise MemoryError
        if where in ("put", "named"):
            raise full
        return False

    def opens_once_it_is_planned(contents: Contents, *rest: Any) -> bool:
        return whole(contents, *rest) if group.bench.ledger.seals() else fails()

    if where in ("opens", "memory"):
        monkeypatch.setattr(Contents, "opens", opens_once_it_is_planned)
    else:
        monkeypatch.setattr(LocalDraft, where, fails)
    foreseeing(group)
    assert len(failed) == 3
    assert [outcome.state for outcome in group.outcomes] == [PlanState.DONE] * 3
    assert nameless(group) == []
    group.check_all_sealed()
    group.close()


def test_what_waits_for_its_name_is_not_in_memory_in_the_clear(tmp_path: Path) -> None:
    group = Group(tmp_path, 1)

    def meanwhile(act: SealFirst) -> None:
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, Contents) and each._parts], "it is kept"
        kept = act._sealer._rooms._kept
        assert len(kept) == 2 and not [each for each in kept if group.files["bad0"] in bytes(each)], (
            "it is left in memory"
        )

    foreseeing(group, meanwhile)
    group.check_all_sealed()
    group.close()


@pytest.mark.parametrize(("dry_run", "tripped"), [(True, False), (False, True), (False, False)])
def test_a_pass_foresees_only_what_it_may_remove(tmp_path: Path, dry_run: bool, tripped: bool) -> None:
    group = Group(tmp_path)
    (group.media / "new").write_bytes(RED_CIRCLE + b" new")
    if tripped:
        run = group.bench.ledger.begin_run("scan", group.store.url, {})
        group.bench.ledger.set_breaker(run, group.store.url, "a test")
    heard: list[str] = []

    class Hearing(SealFirst):
        def foresee(self, obj: Object, sha256: bytes) -> None:
            heard.append(obj.key)
            super().foresee(obj, sha256)

    act = group.vault.act(group.store, group.bench.ledger, group.bench.clock)
    act.__class__ = Hearing
    group.bench.scan(dry_run=dry_run, act=ActKind.SEAL, seal=act)
    act.close()
    assert heard == ([] if dry_run or tripped else ["new"]), "what was judged before waits for its time"
    group.close()


# --- the stream


@pytest.mark.parametrize("more", [-512, -1, 0, 1, 512])
@pytest.mark.parametrize("pieces", [1, 3])
def test_pyrage_opens_what_ends_at_and_about_the_end_of_a_piece(pieces: int, more: int) -> None:
    data = bytes(range(256)) * (pieces * PIECE_BYTES // 256)
    contents = Contents({}, data[: len(data) - Contents({}, b"", 0.0).size + more], 0.0)
    once = pyrage.x25519.Identity.generate()
    sealed = contents.seal([key().to_public()], once, Growing(bytearray(contents.room(2))))
    whole = b"".join(contents.pieces())
    for identity in (once, key()):
        assert pyrage.decrypt(bytes(sealed), [identity]) == whole
        assert contents.opens(sealed, identity)


@pytest.mark.parametrize(
    "sizes", [(), (0,), (1,), (PIECE_BYTES,), (PIECE_BYTES, 0), (10, PIECE_BYTES, 5, 0, PIECE_BYTES)]
)
def test_pieces_are_all_of_it_in_order_and_one_is_the_last(sizes: tuple[int, ...]) -> None:
    parts = [memoryview(bytes([number + 1]) * size) for number, size in enumerate(sizes)]
    found = list(pieces_of(parts))
    assert b"".join(piece for piece, _ in found) == b"".join(parts)
    assert [last for _, last in found] == [False] * (len(found) - 1) + [True]
    assert all(len(piece) == PIECE_BYTES for piece, last in found if not last)


def test_no_two_files_have_a_key_or_a_nonce_in_common() -> None:
    once = pyrage.x25519.Identity.generate()
    keys = {header_for([], once)[1] for _ in range(5)}
    assert len(keys) == 5 == len({Stream(bytes(16)).nonce for _ in range(5)})


def test_a_header_of_another_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    once, made = pyrage.x25519.Identity.generate(), pyrage.encrypt
    for spoil in (
        lambda head: b"age-encryption.org/v2\n" + head[22:],
        lambda head: head.replace(b"-> X25519 ", b"-> X25518 ", 1),
        lambda head: head[: head.index(b"--- ") + 4] + b"A" * 43 + head[head.index(b"--- ") + 47 :],
        lambda head: head[:60],
    ):
        with monkeypatch.context() as other:
            other.setattr(pyrage, "encrypt", lambda data, keys, spoil=spoil: spoil(made(data, keys)))
            with pytest.raises(NoHeader):
                header_for([], once)
