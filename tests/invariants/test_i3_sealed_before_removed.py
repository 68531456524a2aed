"""I3 and I1: an original goes only after a sealed copy of it was read back, opened and recorded.

`kill -9` between any two of read, sealed, synced, proved, recorded, removed and closed leaves no original gone without
a copy that opens, no second copy of one act, and nothing in the clear on the disk.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fedi_safety.acts.sealed_file import Contents
from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.errors import StoreError
from fedi_safety.core.runs import Tally
from fedi_safety.core.sealing.copies import SealState
from fedi_safety.core.types import Outcome
from fedi_safety.ledger.followup import seals
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.stores.local import LocalStore
from fedi_safety.stores.vaults.local import LocalDraft, LocalVault
from support.fakes import FakeClock
from support.killing import Steps, killed_at
from support.passes import RED, RED_CIRCLE, Bench
from support.sealing import SealedFolder, key
from support.share import Share

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

MARK = b"never on a disk in the clear"
BAD = {f"bad{i}": RED_CIRCLE + b" n=%d " % i + MARK for i in range(3)}
HARMLESS = {"red": RED}


@cache
def empty_ledger() -> bytes:
    """A ledger with nothing in it: making one takes longer than all that is done in it here."""
    with TemporaryDirectory() as folder:
        open_ledger(Path(folder) / "ledger.db", clock=FakeClock()).dispose()
        return (Path(folder) / "ledger.db").read_bytes()


def fill(folder: Path, bad: int = len(BAD)) -> None:
    (folder / "media").mkdir(parents=True)
    (folder / "vault").mkdir()
    for name, data in {**dict(list(BAD.items())[:bad]), **HARMLESS}.items():
        (folder / "media" / name).write_bytes(data)
    (folder / "ledger.db").write_bytes(empty_ledger())
    with_bench(folder, lambda bench: bench.scan(dry_run=True, act=ActKind.SEAL))


def with_bench(folder: Path, work: Callable[[Bench], object]) -> None:
    bench = Bench(folder / "ledger.db", LocalStore(str(folder / "media")))
    try:
        work(bench)
    finally:
        bench.store.close()
        bench.close()


def apply_run(folder: Path, outcomes: list[Outcome] | None = None, *, foreseen: bool = False) -> None:
    def work(bench: Bench) -> None:
        run = bench.ledger.begin_run("apply", bench.store.url, {})
        act = SealedFolder(folder / "vault").act(bench.store, bench.ledger, bench.clock)
        lost = bench.ledger.take_back(run, bench.store.url)
        if foreseen:
            for plan in list(bench.ledger.open_plans(bench.store.url)):
                act.foresee(plan.object, plan.sha256)
        heard = [] if outcomes is None else outcomes
        acting = Acting(bench.ledger, {ActKind.SEAL: act}, run, Tally(), heard.append)
        acting.carry_out(lost, resumed=True)
        acting.carry_out(bench.ledger.open_plans(bench.store.url))
        act.close()

    with_bench(folder, work)


def check(folder: Path, *, finished: bool, bad: int = len(BAD)) -> None:
    """Whatever is gone has one recorded copy that opens; no act has two; nothing lies in the clear beside the store."""
    there = {path.name for path in (folder / "media").iterdir()}
    vault = SealedFolder(folder / "vault")
    assert set(HARMLESS) <= there

    def work(bench: Bench) -> None:
        recorded = {seal.key: seal for seal in bench.ledger.seals(states=[SealState.SEALED])}
        everything = bench.ledger.seals()
        assert len({seal.plan for seal in everything}) == len(everything)
        # A file under its own name is whole: it is renamed there. What was cut off is beside it.
        whole = vault.opened()
        assert set(whole) <= {seal.name for seal in everything}
        for name, data in list(BAD.items())[:bad]:
            if name not in there:
                seal = recorded[name]
                assert whole[seal.name].data == data
                assert whole[seal.name].manifest["key"] == name
            else:
                assert (folder / "media" / name).read_bytes() == data
        if finished:
            assert there == set(HARMLESS)
            assert vault.names() == sorted(seal.name for seal in recorded.values())
            assert {row.act_state for row in bench.rows() if row.key in BAD} <= {PlanState.DONE, PlanState.GONE}
        assert bench.ledger.verify().problem is None

    with_bench(folder, work)
    for path in folder.rglob("*"):
        if path.is_file() and path.parent != folder / "media":
            assert MARK not in path.read_bytes(), path


class SealSteps(Steps):
    """Counts the steps of sealing as well."""

    def install(self) -> None:
        """Count around reading, sealing, writing, reading back, proving, and every change on a disk."""
        super().install()
        os.rename = self.around(os.rename)
        os.link = self.around(os.link)
        whole = os.write

        def halves(fd: int, data: bytes) -> int:
            written = whole(fd, data[: len(data) // 2] if len(data) > 1000 else data)
            self.step()
            return written

        os.write = halves  # type: ignore[assignment]
        LocalStore.fetch_into = self.around(LocalStore.fetch_into)  # type: ignore[method-assign]
        Contents.seal = self.around(Contents.seal)  # type: ignore[method-assign]
        Contents.opens = self.around(Contents.opens)  # type: ignore[method-assign]
        LocalVault.put = self.around(LocalVault.put)  # type: ignore[method-assign]
        LocalVault.get = self.around(LocalVault.get)  # type: ignore[method-assign]
        LocalVault.holds = self.around(LocalVault.holds)  # type: ignore[method-assign]
        LocalDraft.put = self.around(LocalDraft.put)  # type: ignore[method-assign]
        LocalDraft.holds = self.around(LocalDraft.holds)  # type: ignore[method-assign]
        LocalDraft.named = self.around(LocalDraft.named)  # type: ignore[method-assign]
        seals.record = self.around(seals.record)


def install(steps: Steps) -> None:
    SealSteps(steps.fatal).install()


@pytest.mark.long
def test_killed_between_any_two_steps_no_original_is_gone_without_a_copy_that_opens(
    tmp_path: Path, share: Share
) -> None:
    """Each step once, of what was foreseen and of what was not; in full, 1,000 trials, half of them killed again."""
    key()
    draw, bad, trials = random.Random(share.seed), share.of(1, len(BAD)), 0

    def trial(fatal: int, again: int, foreseen: bool) -> bool:
        nonlocal trials
        trials += 1
        folder = tmp_path / f"{trials}"
        fill(folder, bad)
        killed = killed_at(fatal, partial(apply_run, folder, foreseen=foreseen), install)
        check(folder, finished=False, bad=bad)
        for _ in range(again):
            apply_again = partial(apply_run, folder, foreseen=draw.random() < 0.5)
            killed_at(draw.randint(1, max(2, fatal)), apply_again, install)
            check(folder, finished=False, bad=bad)
        apply_run(folder)
        check(folder, finished=True, bad=bad)
        shutil.rmtree(folder)
        return killed

    stride, steps = share.of(3, 1), list[int]()
    for foreseen in (False, True):
        fatal = draw.randint(1, stride)
        while trial(fatal, 0, foreseen):
            fatal += stride
        assert fatal > bad * 2 * 7, "fewer steps than there are: this test would not notice a gap"
        steps.append(fatal)
    for _ in share.numbers(0, 1000 - trials):
        trial(draw.randint(1, max(steps)), draw.randint(0, 2), draw.random() < 0.5)
    each = " and, of what was foreseen, ".join(f"{fatal - 1}" for fatal in steps)
    share.figure(f"seal: {trials} trials, killed at each of {each} steps of {bad} acts")


@pytest.mark.parametrize("where", ["put", "holds", "spoiled"])
def test_a_seal_that_fails_leaves_the_object_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A full disk, a vault that is gone, or one that does not keep what it was given: the original stays."""
    folder = tmp_path / "here"
    fill(folder)
    with monkeypatch.context() as broken:
        full = StoreError("vault", "No space left on device", "see to its disk")
        if where == "spoiled":
            whole = LocalVault.holds

            def spoiled(vault: LocalVault, name: str, data: memoryview) -> bool:
                return whole(vault, name, bytes(data[:-1]) + bytes([data[-1] ^ 1]))

            broken.setattr(LocalVault, "holds", spoiled)
        else:
            broken.setattr(LocalVault, where, lambda *_: (_ for _ in ()).throw(full))
        outcomes: list[Outcome] = []
        apply_run(folder, outcomes)
        assert {outcome.state for outcome in outcomes} == {PlanState.FAILED}
        assert all("it is left where it is" in outcome.detail for outcome in outcomes)
        check(folder, finished=False)
        assert {path.name for path in (folder / "media").iterdir()} == set(BAD) | set(HARMLESS)
    apply_run(folder)
    check(folder, finished=True)


@pytest.mark.parametrize("foreseen", [False, True])
def test_a_persons_no_while_it_is_sealed_keeps_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreseen: bool
) -> None:
    """Sealing takes its time; what is said meanwhile is heard before the original goes."""
    folder = tmp_path / "here"
    fill(folder)
    whole = Contents.opens

    def dismissed_meanwhile(contents: Contents, *rest: object) -> bool:
        def say(bench: Bench) -> None:
            for row in bench.rows():
                if row.key == "bad1" and row.sha256 is not None:
                    bench.ledger.dismiss(row.sha256, "a person looked")

        if BAD["bad1"] in b"".join(contents.pieces()):  # it is under way, so that its start is past asking
            with_bench(folder, say)
        return whole(contents, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Contents, "opens", dismissed_meanwhile)
    apply_run(folder, foreseen=foreseen)
    assert "bad1" in {path.name for path in (folder / "media").iterdir()}
    assert "bad0" not in {path.name for path in (folder / "media").iterdir()}
