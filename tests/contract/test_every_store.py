"""One contract, the same cases over every kind of the table, each against its real server; a last test counts them.

What only one kind promises (hard links, versions, aliases, host keys) is in the file of that kind.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from fedi_safety.acts.delete import Remove
from fedi_safety.config.schema import S3, Pictrs, Settings, Ssh
from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.errors import StoreError, Unscannable
from fedi_safety.core.keys import KeyRange, key_bytes
from fedi_safety.core.ports import Divisible, Store
from fedi_safety.core.presence import Presence, Standing
from fedi_safety.core.runs import Tally
from fedi_safety.core.types import NO_SCORES, Content, Judged, Judgement, Object, Right
from fedi_safety.media import sniff
from fedi_safety.stores import KINDS, kind_of, open_store
from support.cases import Ran
from support.corpus.photos import jpeg_bytes
from support.passes import Bench
from support.servers import sshd
from support.servers.pictrs import pictrs_server
from support.servers.s3 import s3_server
from support.servers.sshd import Sshd

NAMES = tuple(kind.name for kind in KINDS)
CASES: list[str] = []

PICTURES = {name: jpeg_bytes(name, size=320) for name in ("chelsea", "coffee", "rocket", "china")}


class Harness(ABC):
    """A store under test, and a way behind its back."""

    @abstractmethod
    def open(self) -> Store:
        """Return a new store."""

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Store something as another program would."""

    @abstractmethod
    def take_away(self, data: bytes) -> None:
        """Remove what holds these bytes, behind the store's back."""

    @abstractmethod
    def clear(self) -> None:
        """Empty the store."""


class Local(Harness):
    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> Store:
        return open_store(str(self.root))

    def put(self, name: str, data: bytes) -> None:
        path = self.root / name[:2] / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    def take_away(self, data: bytes) -> None:
        for path in self.root.rglob("*"):
            if path.is_file() and path.read_bytes() == data:
                path.unlink()

    def clear(self) -> None:
        for path in self.root.rglob("*"):
            if path.is_file():
                path.unlink()


class Sftp(Local):
    def __init__(self, server: Sshd, root: Path) -> None:
        super().__init__(root)
        self.server = server

    def open(self) -> Store:
        access = {"known_hosts": str(self.server.known_hosts), "identity_file": str(self.server.identity)}
        return open_store(self.server.url, Settings(ssh=Ssh.model_validate(access)))

    def put(self, name: str, data: bytes) -> None:
        super().put(name, data)
        if sshd.AS_ROOT:
            uid = self.root.stat().st_uid
            for path in [self.root / name[:2], self.root / name[:2] / name]:
                os.chown(path, uid, -1)


class Bucket(Harness):
    def __init__(self, server: object, bucket: str) -> None:
        self.server: object = server
        self.bucket = bucket

    def open(self) -> Store:
        server = self.server
        access = {
            "access_key_id": server.access_key,  # type: ignore[attr-defined]
            "secret_access_key": server.secret_key,  # type: ignore[attr-defined]
            "endpoint": server.endpoint,  # type: ignore[attr-defined]
        }
        return open_store(f"s3://{self.bucket}", Settings(s3=S3.model_validate(access)))

    def put(self, name: str, data: bytes) -> None:
        self.server.put(self.bucket, f"{name[:2]}/{name}", data)  # type: ignore[attr-defined]

    def take_away(self, data: bytes) -> None:
        store = self.open()
        for item in store.list():
            if isinstance(item, Object) and store.fetch(item, lambda _head: None) == data:
                self.server.client().delete_object(Bucket=self.bucket, Key=item.key)  # type: ignore[attr-defined]
        store.close()

    def clear(self) -> None:
        store = self.open()
        for item in store.list():
            self.server.client().delete_object(Bucket=self.bucket, Key=item.key)  # type: ignore[attr-defined,union-attr]
        store.close()


class Pictures(Harness):
    def __init__(self, server: object) -> None:
        self.server: object = server
        self.aliases: dict[bytes, str] = {}

    def open(self) -> Store:
        server = self.server
        access = Pictrs(url=None, api_key=SecretStr(server.api_key), database=None)  # type: ignore[attr-defined]
        return open_store(server.store_url, Settings(pictrs=access))  # type: ignore[attr-defined]

    def put(self, name: str, data: bytes) -> None:
        alias = self.server.upload(data, name)  # type: ignore[attr-defined]
        self.aliases[self._stored(alias)] = alias

    def _stored(self, alias: str) -> bytes:
        answer = self.server.http.get(f"{self.server.url}/image/original/{alias}")  # type: ignore[attr-defined]
        body: bytes = answer.content
        return body

    def take_away(self, data: bytes) -> None:
        alias = self.aliases[data]
        self.server.internal("POST", "purge", alias=alias)  # type: ignore[attr-defined]
        for _ in range(400):  # pict-rs answers before it has done it
            if self.server.status(alias) == 404:  # type: ignore[attr-defined]
                return
            time.sleep(0.05)
        pytest.fail("pict-rs did not purge in time")

    def clear(self) -> None:
        self.server.clear()  # type: ignore[attr-defined]
        self.aliases.clear()


def local(_stack: ExitStack, folder: Path) -> Harness:
    return Local(folder)


def s3(stack: ExitStack, _folder: Path) -> Harness:
    server = stack.enter_context(s3_server())
    return Bucket(server, server.make_bucket("every-store"))


def sftp(stack: ExitStack, _folder: Path) -> Harness:
    base = sshd.new_base()
    server = Sshd(base)
    server.trust()
    server.start()
    stack.callback(shutil.rmtree, base)
    stack.callback(server.stop)
    return Sftp(server, server.media)


def pictrs(stack: ExitStack, _folder: Path) -> Harness:
    return Pictures(stack.enter_context(pictrs_server()))


HARNESSES: dict[str, Callable[[ExitStack, Path], Harness]] = {"local": local, "s3": s3, "sftp": sftp, "pictrs": pictrs}


def test_every_kind_of_the_table_has_a_harness() -> None:
    assert HARNESSES.keys() == set(NAMES), "a kind of store without a harness here, or a harness without a kind"


@pytest.fixture(scope="module")
def harnesses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Harness]]:
    """Start servers as they are asked for, once for the module, and stop them at the end."""
    made: dict[str, Harness] = {}
    with ExitStack() as stack:

        def get(kind: str) -> Harness:
            if kind not in made:
                made[kind] = HARNESSES[kind](stack, tmp_path_factory.mktemp(kind))
            return made[kind]

        yield get


@pytest.fixture(
    params=[name if name == "local" else pytest.param(name, marks=pytest.mark.needs(name)) for name in NAMES]
)
def harness(request: pytest.FixtureRequest, harnesses: Callable[[str], Harness], ran: Ran) -> Harness:
    found = harnesses(request.param)
    found.clear()
    ran.note(request.param, request.node.originalname)
    return found


@pytest.fixture
def store(harness: Harness) -> Iterator[Store]:
    for name, data in PICTURES.items():
        harness.put(name, data)
    opened = harness.open()
    yield opened
    opened.close()
    opened.close()


def case(function: Callable[..., None]) -> Callable[..., None]:
    """Register a case, so that the last test knows how many there are."""
    CASES.append(function.__name__)
    return function


def objects(store: Store, since: float | None = None) -> list[Object]:
    return [item for item in store.list((), since) if isinstance(item, Object)]


def bodies(store: Store) -> dict[str, bytes]:
    return {obj.key: store.fetch(obj, lambda _head: None) for obj in objects(store)}


@case
def test_everything_is_listed_once_and_in_the_same_order_again(store: Store) -> None:
    first = objects(store)
    assert len(first) == len({obj.key for obj in first}) == len(PICTURES)
    assert objects(store) == first
    assert all(obj.size > 0 and obj.mtime_ns > 0 for obj in first)


@case
def test_its_parts_are_the_whole(store: Store) -> None:
    if not isinstance(store, Divisible):
        assert store.default_act is ActKind.PURGE, "what lists in the order of its keys can be parted"
        return
    whole = objects(store)
    keys = [key_bytes(obj.key) for obj in whole]
    cuts = store.cuts(KeyRange(), 3)
    assert cuts is not None and len(cuts) >= 2, "and so that more than one has something to do"
    for ends in (cuts, keys, keys[1:2], (), (b"ch/d", b"zz"), (key + b"\0" for key in keys)):
        parts = KeyRange().parted(ends)
        found = [list(store.list_within(part)) for part in parts]
        assert [item for part in found for item in part] == whole
        assert all(part.holds(key_bytes(obj.key)) for part, of in zip(parts, found, strict=True) for obj in of)  # type: ignore[union-attr]
    inner = KeyRange(keys[0], keys[-1])
    assert list(store.list_within(inner)) == whole[1:]
    assert list(store.list_within(inner, ("ch/",))) == [obj for obj in whole[1:] if obj.key.startswith("ch/")]
    assert all(inner.holds(cut) for cut in store.cuts(inner, 8) or ())


@case
def test_bytes_come_whole_and_are_pictures(store: Store) -> None:
    for obj in objects(store):
        heads: list[bytes] = []
        data = store.fetch(obj, heads.append)
        assert heads == [data[:4096]]
        assert sniff(data[:4096]) is MediaType.JPEG
        assert data.endswith(b"\xff\xd9")


@case
def test_a_refused_head_ends_the_reading(store: Store) -> None:
    def refuse(head: bytes) -> None:
        raise Unscannable(Reason.NOT_MEDIA)

    with pytest.raises(Unscannable) as caught:
        store.fetch(objects(store)[0], refuse)
    assert caught.value.reason is Reason.NOT_MEDIA


@case
def test_since_leaves_out_what_is_older(store: Store) -> None:
    newest_s = max(obj.mtime_ns for obj in objects(store)) / 1e9
    assert objects(store, newest_s + 3600) == []
    assert len(objects(store, newest_s - 3600)) == len(PICTURES)


@case
def test_what_is_gone_has_vanished_and_its_removal_is_no_failure(store: Store, harness: Harness) -> None:
    obj = objects(store)[0]
    data = store.fetch(obj, lambda _head: None)
    harness.take_away(data)
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, lambda _head: None)
    assert caught.value.reason is Reason.VANISHED
    assert store.remove(obj, hashlib.sha256(data).digest()).state is PlanState.GONE


@case
def test_removing_takes_exactly_the_one_that_was_judged(store: Store) -> None:
    before = bodies(store)
    victim = objects(store)[1]
    removal = store.remove(victim, hashlib.sha256(before[victim.key]).digest())
    assert removal.state is PlanState.DONE, removal.detail
    after = bodies(store)
    assert after == {key: data for key, data in before.items() if key != victim.key}
    assert store.remove(victim, hashlib.sha256(before[victim.key]).digest()).state is PlanState.GONE


@case
def test_removing_refuses_another_content(store: Store) -> None:
    before = bodies(store)
    victim = objects(store)[0]
    assert store.remove(victim, hashlib.sha256(b"something else").digest()).state is PlanState.CHANGED
    assert bodies(store) == before


@case
def test_it_tells_that_it_can_be_removed_from_and_touches_nothing(store: Store) -> None:
    before = bodies(store)
    for sample in (objects(store), []):
        assert store.may_remove(sample) == Right(True)
    assert bodies(store) == before
    assert [item.key for item in store.list() if isinstance(item, Object)] == list(before)


@case
def test_an_empty_store_lists_nothing(harness: Harness) -> None:
    opened = harness.open()
    assert list(opened.list()) == []
    opened.close()


@case
def test_an_emptied_store_proves_nothing_until_a_person_confirms_it(
    store: Store, harness: Harness, tmp_path: Path
) -> None:
    """Scan, apply and the gate: nothing of it is gone, whatever kind it is; and what is back is there as before."""
    bench = Bench(tmp_path / "ledger.db", store)
    bench.scan(dry_run=True)
    judged = [verdict_on(obj, store, bench.policy.id) for obj in objects(store)]
    run = bench.ledger.begin_run("scan", store.url, {})
    bench.ledger.record(run, store.url, judged)
    plans = bench.ledger.plan(run, store.url, [(j.object, j.content.sha256) for j in judged], ActKind.DELETE)
    harness.clear()
    with pytest.raises(StoreError, match="--accept-gone"):
        bench.scan(dry_run=True)
    acting = Acting(bench.ledger, {ActKind.DELETE: Remove(store)}, run, Tally(), presence=Presence(store, bench.ledger))
    with pytest.raises(StoreError, match="--accept-gone"):
        acting.carry_out(plans)
    assert Presence(store, bench.ledger).standing() is Standing.OTHER
    assert {(row.state, row.act_state) for row in bench.rows()} == {("judged", PlanState.PLANNED)}
    harness.put("chelsea", PICTURES["chelsea"])
    assert Presence(store, bench.ledger).standing() is Standing.ITSELF
    harness.clear()
    tally, _ = bench.scan(dry_run=True, accept_gone=True)
    assert (tally.listed, tally.gone) == (0, len(PICTURES))
    assert {(row.state, row.act_state) for row in bench.rows()} == {("gone", PlanState.GONE)}
    bench.close()


def verdict_on(obj: Object, store: Store, policy: str) -> Judged:
    """Condemn an object, as a stand-in policy would."""
    data = store.fetch(obj, lambda _head: None)
    content = Content(hashlib.sha256(data).digest(), len(data), MediaType.JPEG, 1, 1, 1, NO_SCORES)
    return Judged(obj, content, Judgement(Verdict.BLOCK, policy=policy))


@case
def test_the_url_names_the_store_without_secrets(store: Store, harness: Harness) -> None:
    assert "://" in store.url
    again = harness.open()
    assert again.url == store.url
    again.close()


@case
def test_it_says_of_itself_what_its_kind_says_of_its_url(store: Store) -> None:
    kind = kind_of(store.url)
    assert (store.default_act, store.local_root) == (kind.default_act, kind.local_root(store.url))
    assert store.owner == kind.owner(store.url)
    # Where removing is purging, a pict-rs owns the objects, and there alone.
    assert (store.owner is not None) == (store.default_act is ActKind.PURGE)
    assert store.concurrency >= 1


@pytest.mark.needs(*(name for name in NAMES if name != "local"))
def test_every_case_ran_over_every_store(ran: Ran) -> None:
    """A skip, or a suite that was not collected, would pass as well; this counts (must stand last)."""
    assert len(CASES) == 13
    assert ran.counts() == dict.fromkeys(NAMES, len(CASES))
