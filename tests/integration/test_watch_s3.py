"""What a cycle of the daemon costs an S3 service: a handful of requests on a pict-rs bucket, however large it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SharedRunLock, SystemClock
from fedi_safety.app.stores import Target
from fedi_safety.config.loading import load_settings
from fedi_safety.config.schema import S3
from fedi_safety.core.enums import ActKind, Reason
from fedi_safety.core.ledger.records import Watermark
from fedi_safety.core.types import Object, Unscanned
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.watch.cycles import Shared, StoreWatch
from support.fakes import FakeDecoder, detectors, red_circles
from support.needs import needs
from support.passes import RED_CIRCLE
from support.servers.faults import Faults, faults_before
from support.servers.s3 import S3Server, s3_server, timed_key

BUCKET = "pictrs"
OLD = 3500  # four pages
KNOWN = "00/01/00000000"


@pytest.fixture(scope="module")
@needs("s3")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        running.make_bucket(BUCKET)
        now = time.time()
        running.put_files(BUCKET, [timed_key(now - 86_400 * 3 - i // 100 * 600, i) for i in range(OLD)])
        running.put_files(BUCKET, [f"00/01/{i:08x}-1111-4222-8333-444444444444" for i in range(1200)])  # <= 0.5.6
        running.put(BUCKET, "health-check", b"")
        yield running


@pytest.fixture
def proxy(server: S3Server) -> Iterator[Faults]:
    with faults_before(server.port) as running:
        yield running


@pytest.fixture
def watch(server: S3Server, proxy: Faults, tmp_path: Path) -> Iterator[StoreWatch]:
    """A watch whose last cycle ended a moment ago."""
    access = {"access_key_id": server.access_key, "secret_access_key": server.secret_key, "endpoint": proxy.endpoint}
    settings = load_settings().model_copy(update={"s3": S3.model_validate(access)})
    clock = SystemClock()
    ledger = open_ledger(tmp_path / "ledger.db", clock=clock)
    engine = Engine(FakeDecoder(), list(detectors()), "fake", 2)
    shared = Shared(ledger, engine, red_circles(), SharedRunLock(ledger), clock)
    target = Target("media", f"s3://{BUCKET}", settings)
    made = StoreWatch(target, shared, target.open())
    known = next(iter(made._open().list([KNOWN])))
    assert isinstance(known, Object)
    ledger.record(ledger.begin_run("scan", made._url, {}), made._url, [Unscanned(known, Reason.NOT_MEDIA)])
    now = clock.now()
    ledger.set_watermark(f"s3://{BUCKET}?endpoint={proxy.endpoint}", Watermark(now, now, made._basis(ActKind.DELETE)))
    yield made
    made.close()
    ledger.dispose()


def test_a_cycle_with_nothing_new_is_a_handful_of_requests(watch: StoreWatch, proxy: Faults) -> None:
    counts = []
    for _ in range(3):
        proxy.heal()
        (report,) = watch.cycle()
        assert report.tally.listed == 0
        counts.append(len(proxy.requests))
    # Top directories, what comes after the time's key, and a known object that shows the bucket to be itself; at first
    # a look at the shape of the keys as well.
    assert counts == [4, 3, 3]


def test_a_new_object_costs_its_own_requests_alone(watch: StoreWatch, server: S3Server, proxy: Faults) -> None:
    watch.cycle()
    key = timed_key(time.time(), 1)
    server.put(BUCKET, key, RED_CIRCLE)
    proxy.heal()
    (report,) = watch.cycle()
    assert (report.tally.listed, report.tally.acted) == (1, 1)
    assert proxy.count("GET", "list-type=2") == 2
    assert all(key in line or "list-type=2" in line or "prefix=" in line or KNOWN in line for line in proxy.requests)
    assert len(proxy.requests) <= 9
    assert proxy.count("DELETE", key) == 1
    proxy.heal()
    watch.cycle()
    assert len(proxy.requests) == 3


def test_the_proxy_counts_what_a_whole_listing_costs(watch: StoreWatch, proxy: Faults) -> None:
    store = watch.target.open()
    proxy.heal()
    assert sum(1 for _ in store.list()) == OLD + 1200
    assert len(proxy.requests) == 5
    store.close()
