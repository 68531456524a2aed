"""Two to eight processes at one ledger, in seeded interleavings; `./dev soak concurrent` plays ten thousand of them.

No error reaches a caller, nothing is done twice (counted at the store), counters add up, and the chain is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import interleaving, ledgers
from support.interleaving import Crowd, checked
from support.share import Share

PER_LEDGER = 100  # rounds: a policy that is applied anew reads all that is there


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    made = Crowd()
    yield made
    made.close()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ledgers.PARAMETERS)
def test_whatever_several_processes_do_at_once(
    kind: str, crowd: Crowd, tmp_path: Path, request: pytest.FixtureRequest, share: Share
) -> None:
    rounds = share.of(25, 10_000)
    acts = 0
    for first in range(0, rounds, PER_LEDGER):
        folder = tmp_path / f"{first}"
        with ledgers.place_of(kind, folder, request) as place:
            with ledgers.opened_at(place) as opener:
                ledger = opener()
                crowd.move_to(str(place))
                for turn in range(first, min(rounds, first + PER_LEDGER)):
                    crowd.play(turn, share.seed * 1_000_003 + turn)
                checked(ledger, crowd)
            crowd.leave()
        acts += crowd.done.total()
    share.figure(f"{kind}: {rounds:,} interleavings of 2 to {interleaving.MOST} processes, {acts:,} acts, none twice")
    assert acts > rounds // 4, "too little was done to say anything"
