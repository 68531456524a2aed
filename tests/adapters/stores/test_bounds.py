"""Numbers from outside: whatever a service says of an object, it fits the ledger, and costs that object alone."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fedi_safety.core.types import Object
from fedi_safety.stores.bounds import bounded, bounded_size, nanoseconds
from fedi_safety.stores.local import LocalStore, _object, _same
from fedi_safety.stores.sftp.listing import Info
from support.passes import RED_CIRCLE, Bench

MOST = (1 << 63) - 1
numbers = st.integers(-(1 << 80), 1 << 80)


@given(numbers)
def test_what_fits_stays_and_the_rest_is_the_nearest(number: int) -> None:
    assert -MOST - 1 <= bounded(number) <= MOST
    assert bounded(number) == number or abs(number) > MOST
    assert 0 <= bounded_size(number) <= MOST


@given(st.floats() | st.none())
def test_any_time_in_seconds_is_a_number_of_nanoseconds(seconds: float | None) -> None:
    assert -MOST - 1 <= nanoseconds(seconds) <= MOST
    assert nanoseconds(1_700_000_000.25) == 1_700_000_000_250_000_000


@given(numbers, numbers)
def test_an_sftp_listing_fits_and_is_still_itself(size: int, mtime_s: int) -> None:
    info = Info(size, mtime_s, 0o100644)
    assert info.is_still(Object("k", bounded_size(size), bounded(mtime_s * 10**9)))


def test_a_file_of_the_year_2446_is_judged_like_any_other(tmp_path: Path) -> None:
    """ext4 gives that year for times that were garbled; the ledger's numbers end in 2262."""
    media = tmp_path / "media"
    media.mkdir()
    (media / "odd").write_bytes(RED_CIRCLE)
    (media / "fine").write_bytes(RED_CIRCLE + b" x=1")
    late = 15_032_385_535
    os.utime(media / "odd", (late, late))
    store = LocalStore(str(media))
    bench = Bench(tmp_path / "ledger.db", store)
    tally, _ = bench.scan(dry_run=True)
    assert (tally.listed, tally.block) == (2, 2)
    again, _ = bench.scan(dry_run=True)
    assert again.already_judged == 2, "it is the same file as before"
    info = (media / "odd").stat()
    assert _same(_object("odd", info), info)
    assert bench.scan()[0].acted == 2
    bench.close()
    store.close()


def test_a_file_from_before_1677_has_a_time(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"x")
    os.utime(tmp_path / "odd", (-(1 << 33), -(1 << 33)))
    store = LocalStore(str(tmp_path))
    (obj,) = store.list()
    assert isinstance(obj, Object) and -MOST - 1 <= obj.mtime_ns < 0

    store.close()
