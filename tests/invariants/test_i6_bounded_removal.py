"""I6: whatever a run condemns, it removes no more than the operator's limits allow, unless it was told to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fedi_safety.core.decide import BreakerLimits
from support.fakes import FakeStore
from support.passes import RED, RED_CIRCLE, Bench
from support.share import examples


@settings(max_examples=examples(30))
@given(
    clean=st.integers(0, 60),
    condemned=st.integers(0, 30),
    damaged=st.integers(0, 40),
    share=st.sampled_from([0.0, 0.05, 0.2, 1.0]),
    number=st.integers(0, 30),
    resume=st.booleans(),
)
def test_all_or_nothing_within_the_limits(
    clean: int, condemned: int, damaged: int, share: float, number: int, resume: bool
) -> None:
    store = FakeStore({f"clean{i}": RED + b" %d" % i for i in range(clean)})
    for i in range(condemned):
        store.put(f"bad{i}", RED_CIRCLE + b" %d" % i)
    for i in range(damaged):
        store.put(f"damaged{i}", b"bad corrupt %d" % i)
    limits = BreakerLimits(share, 20, number, 0.5, 20)
    judged, listed = clean + condemned, clean + condemned + damaged
    too_much = (
        condemned > number or (judged >= 20 and condemned > share * judged) or (listed >= 20 and damaged > 0.5 * listed)
    )
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "ledger.db", store, limits=limits)
        tally, enforcement = bench.scan(resume_acts=resume)
        expected = 0 if too_much and not resume else condemned
        assert tally.acted == expected == len(store.removed)
        assert (enforcement.tripped is not None) is (too_much and not resume)
        assert tally.listed == listed  # the scan itself is never stopped
        assert tally.planned == condemned
        bench.close()
