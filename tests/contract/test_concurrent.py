"""Two to eight processes at one ledger, in seeded interleavings; `./dev soak concurrent` plays ten thousand of them.

No error reaches a caller, nothing is done twice (counted at the store), counters add up, and the chain is whole. A soak
can be made in parts: `--first` is the first ledger, of a hundred interleavings each, and `--within` ends it in time.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import interleaving, ledgers
from support.interleaving import Crowd, checked
from support.share import Share

PER_LEDGER = 100  # rounds: a policy that is applied anew reads all that is there
CROWDS = 3  # of a soak, each at a ledger of its own: while one waits for its turn to write, another plays
_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def crowds(pytestconfig: pytest.Config) -> Iterator[list[Crowd]]:
    made = [Crowd() for _ in range(CROWDS if pytestconfig.option.soak else 1)]
    yield made
    for crowd in made:
        crowd.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where ledgers lie: in memory, for none of this is about a disk, which ten thousand times would wait for."""
    if not os.access(_MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY) as place:
        yield Path(place)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ledgers.PARAMETERS)
def test_whatever_several_processes_do_at_once(
    kind: str, crowds: list[Crowd], folder: Path, request: pytest.FixtureRequest, share: Share
) -> None:
    rounds = share.of(25, 10_000)
    ledgers_of = iter(share.numbers(-(-rounds // PER_LEDGER), -(-rounds // PER_LEDGER)))
    taking = threading.Lock()
    server = request.getfixturevalue("ledger_server") if kind == "postgresql" else None

    def following() -> int | None:
        with taking:
            return next(ledgers_of, None)

    def played(crowd: Crowd) -> tuple[int, int]:
        acts, turns = 0, 0
        while (number := following()) is not None:
            first = number * PER_LEDGER
            with ledgers.place_at(folder / f"{first}", server) as place:
                with ledgers.opened_at(place) as opener:
                    ledger = opener()
                    crowd.move_to(str(place))
                    for turn in range(first, min(rounds, first + PER_LEDGER)):
                        crowd.play(turn, share.seed * 1_000_003 + turn)
                        turns += 1
                    checked(ledger, crowd)
                crowd.leave()
            acts += crowd.done.total()
        return acts, turns

    with ThreadPoolExecutor(len(crowds)) as pool:
        done = list(pool.map(played, crowds))
    acts, turns = (sum(each) for each in zip(*done, strict=True))
    which = f"from ledger {share.first} on, " if share.first else ""
    share.figure(
        f"{kind}: {which}{turns:,} interleavings of 2 to {interleaving.MOST} processes, {acts:,} acts, none twice"
    )
    assert acts > turns // 4, "too little was done to say anything"
