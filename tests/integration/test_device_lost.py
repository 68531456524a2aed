"""A device that is lost in the middle of a pass ends it; nothing is judged by it, and the next pass goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fedi_safety.core.errors import DeviceError, ExitCode
from fedi_safety.core.types import Evidence, Scored
from support.fakes import FakeDetector, FakeStore, detectors
from support.passes import RED_CIRCLE, Bench

COUNT = 60


class Failing(FakeDetector):
    """Loses its device at the n-th call."""

    def __init__(self, at: int) -> None:
        super().__init__("b", ("b.circle",), cost=5)
        self.left = at

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        self.left -= 1
        if self.left < 0:
            raise DeviceError("device 'cuda'", "it was lost (CUDA failure 719)", "see that it works")
        return super().score(batch)


@pytest.mark.parametrize("at", [0, 3])
def test_a_lost_device_loses_nothing(tmp_path: Path, at: int) -> None:
    store = FakeStore({f"{i:03d}": b"pic red=0.9 circle=0.%03d" % i for i in range(COUNT)} | {"hit": RED_CIRCLE})
    bench = Bench(tmp_path / "ledger.db", store, detectors=[Failing(at), *(d for d in detectors() if d.name != "b")])
    with pytest.raises(DeviceError, match="lost") as caught:
        bench.scan()
    assert caught.value.exit_code is ExitCode.OUTSIDE
    assert len(store.objects) == COUNT + 1, "nothing was removed because of it"
    judged = [row.key for row in bench.rows()]
    assert len(judged) < COUNT
    assert not [row for row in bench.rows() if row.unscanned], "what was in hand is judged later"

    bench.detectors = detectors()
    tally, _ = bench.scan(dry_run=True)
    assert (tally.listed, tally.judged, tally.already_judged) == (COUNT + 1, COUNT + 1 - len(judged), len(judged))
    assert tally.accounted and tally.unscanned == {}
    bench.close()
