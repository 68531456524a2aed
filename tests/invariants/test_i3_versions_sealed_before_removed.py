"""I3 and I1 in a bucket that keeps versions: none of them goes that is not in a sealed copy which opens.

`kill -9` before and after each request to a real S3 server, each step of sealing and each commit leaves no version gone
without a recorded copy that has its bytes, no second copy of one act, and nothing in the clear beside the bucket.
"""

from __future__ import annotations

import random
import secrets
import shutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from botocore import session  # type: ignore[import-untyped]

from fedi_safety.config.schema import S3, Settings
from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind
from fedi_safety.core.runs import Tally
from fedi_safety.core.sealing.copies import SealState
from fedi_safety.stores import open_store
from fedi_safety.stores.s3.client import Client
from fedi_safety.stores.s3.obstore_gets import ObstoreGets
from fedi_safety.stores.s3.store import S3Store
from invariants.test_i3_sealed_before_removed import MARK, SealSteps, empty_ledger
from support.killing import Steps, killed_at
from support.needs import needs
from support.passes import RED, RED_CIRCLE, Bench
from support.sealing import SealedFolder, key
from support.servers.s3 import S3Server, s3_server
from support.share import Share

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")]

DELETED = None
STORED: dict[str, list[bytes | None]] = {
    "bad0": [b"first " + MARK, DELETED, RED_CIRCLE + b" second " + MARK, RED_CIRCLE + b" n=0 " + MARK],
    "bad1": [b"other " + MARK, RED_CIRCLE + b" n=1 " + MARK],
}
HARMLESS = {"red": RED}


@pytest.fixture(scope="module")
@needs("s3")
def service() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


class Trial:
    """A bucket with what is to be removed, a vault, and a ledger that has the plans."""

    def __init__(self, folder: Path, service: S3Server, bad: int) -> None:
        self.folder, self.service = folder, service
        self.bucket = service.make_bucket(f"kill-{secrets.token_hex(6)}", versions=True)
        self.stored = dict(list(STORED.items())[:bad])
        client = service.client()
        everything: dict[str, list[bytes | None]] = {**self.stored, "red": [RED]}
        for name, versions in everything.items():
            for data in versions:
                if data is DELETED:
                    client.delete_object(Bucket=self.bucket, Key=name)
                else:
                    client.put_object(Bucket=self.bucket, Key=name, Body=data)
        self.before = self.versions()
        folder.mkdir()
        (folder / "vault").mkdir()
        (folder / "ledger.db").write_bytes(empty_ledger())
        self.with_bench(lambda bench: bench.scan(dry_run=True, act=ActKind.SEAL))

    def versions(self) -> dict[str, tuple[str, bytes | None]]:
        """Return what the bucket has: by version its key, and its bytes, or None for a mark of deletion."""
        client = self.service.client()
        answer: dict[str, Any] = client.list_object_versions(Bucket=self.bucket)
        found: dict[str, tuple[str, bytes | None]] = {}
        for each in answer.get("Versions", ()):
            body = client.get_object(Bucket=self.bucket, Key=each["Key"], VersionId=each["VersionId"])["Body"].read()
            found[each["VersionId"]] = (each["Key"], body)
        for each in answer.get("DeleteMarkers", ()):
            found[each["VersionId"]] = (each["Key"], DELETED)
        return found

    def with_bench(self, work: Callable[[Bench], object]) -> None:
        keys = {"access_key_id": self.service.access_key, "secret_access_key": self.service.secret_key}
        access = S3.model_validate({**keys, "endpoint": self.service.endpoint})
        bench = Bench(self.folder / "ledger.db", open_store(f"s3://{self.bucket}", Settings(s3=access)))
        try:
            work(bench)
        finally:
            bench.store.close()
            bench.close()

    def apply_run(self) -> None:
        def work(bench: Bench) -> None:
            run = bench.ledger.begin_run("apply", bench.store.url, {})
            act = SealedFolder(self.folder / "vault").act(bench.store, bench.ledger, bench.clock)
            lost = bench.ledger.take_back(run, bench.store.url)
            acting = Acting(bench.ledger, {ActKind.SEAL: act}, run, Tally())
            acting.carry_out(lost, resumed=True)
            acting.carry_out(bench.ledger.open_plans(bench.store.url))
            act.close()

        self.with_bench(work)

    def check(self, *, finished: bool) -> None:
        """Whatever is gone is in a recorded copy of its key that opens; no act has two; nothing lies in the clear."""
        now = self.versions()
        vault = SealedFolder(self.folder / "vault")

        def work(bench: Bench) -> None:
            recorded = {seal.key: seal for seal in bench.ledger.seals(states=[SealState.SEALED])}
            everything = bench.ledger.seals()
            assert len({seal.plan for seal in everything}) == len(everything)
            whole = vault.opened()
            assert set(whole) <= {seal.name for seal in everything}
            for version, (name, data) in self.before.items():
                if version in now:
                    assert now[version] == (name, data)
                    continue
                copy = whole[recorded[name].name]
                kept = [copy.data, *(older.data for older in copy.older)]
                assert kept.count(data) == [at for key, at in self.before.values() if key == name].count(data)
            if finished:
                assert {name for name, _ in now.values()} == set(HARMLESS)
                assert vault.names() == sorted(seal.name for seal in recorded.values())
            assert bench.ledger.verify().problem is None

        self.with_bench(work)
        for path in self.folder.rglob("*"):
            if path.is_file():
                assert MARK not in path.read_bytes(), path


class S3Steps(SealSteps):
    """Counts every request to the server as well."""

    def install(self) -> None:
        """Count around what reads, lists and removes."""
        super().install()
        S3Store.fetch = self.around(S3Store.fetch)  # type: ignore[method-assign]
        for name in ("get", "head", "versions", "delete", "ask"):
            setattr(Client, name, self.around(getattr(Client, name)))


def install(steps: Steps) -> None:
    S3Steps(steps.fatal).install()


def test_killed_between_any_two_requests_no_version_is_gone_without_a_copy_that_has_it(
    tmp_path: Path, service: S3Server, share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some steps once; in full each step, and 300 trials of which many are killed a second and a third time."""
    # A fork of this process is killed, and after a fork obstore's threads are not there. The program forks nothing.
    monkeypatch.setattr(ObstoreGets, "usable", staticmethod(lambda *_: False))
    # Every client reads botocore's description of S3, which takes half of a trial: it is read once for all of them.
    monkeypatch.setattr(session, "create_loader", cache(session.create_loader))
    key()
    draw, bad, trials = random.Random(share.seed), share.of(1, len(STORED)), 0

    def trial(fatal: int, again: int) -> bool:
        nonlocal trials
        trials += 1
        made = Trial(tmp_path / f"{trials}", service, bad)
        killed = killed_at(fatal, made.apply_run, install)
        made.check(finished=False)
        for _ in range(again):
            killed_at(draw.randint(1, max(2, fatal)), partial(made.apply_run), install)
            made.check(finished=False)
        made.apply_run()
        made.check(finished=True)
        shutil.rmtree(made.folder)
        return killed

    stride = share.of(20, 1)
    fatal = draw.randint(1, stride)
    while trial(fatal, 0):
        fatal += stride
    assert fatal > bad * 40, "fewer steps than there are: this test would not notice a gap"
    while trials < share.of(0, 300):
        trial(draw.randint(1, fatal), draw.randint(0, 2))
    share.figure(f"seal in S3 with versions: {trials} trials, killed at each of {fatal - 1} steps of {bad} acts")
