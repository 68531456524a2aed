"""Bombs through the real decoder: each within its time and memory, and none harms its neighbours in a whole pass."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from fedi_safety.core.enums import MediaType, Reason, Verdict
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.ledger.records import Row
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.runs import Tally
from fedi_safety.core.types import Decoded
from fedi_safety.media import Caps, SandboxDecoder
from fedi_safety.media.caps import MIB
from support.corpus.media_zoo import saved
from support.corpus.moving import numbered
from support.fakes import FakeStore
from support.hostile.bombs import BOMBS, Bomb
from support.hostile.child import SIGNATURE
from support.passes import Bench
from support.stand_in import RedPixels

pytestmark = pytest.mark.long

RED = Policy("red", {"red": ("pixels.red",)}, (Rule("red", {"red": 0.9}, Verdict.BLOCK),), {})

# The seconds are those of a machine that does nothing else: what others do at the same time costs processor time too,
# and so do the neighbours of a virtual machine (4.6 s for 2.0 in a slow hour, without anything else running here).
_SLACK = 4.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Cost:
    """What one child used, sampled while it works: it may end before it can be asked."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = self._seconds()
        self.seconds = 0.0
        self.peak_bytes = 0  # of its address space, which is what the cap bounds

    def _seconds(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def sample(self) -> None:
        """Look once. What has ended keeps what it had."""
        try:
            status = Path(f"/proc/{self._pid}/status").read_text()
            self.peak_bytes = int(status.split("VmPeak:")[1].split()[0]) * 1024
            self.seconds = self._seconds() - self._before
        except (OSError, IndexError):
            return

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Sample while the block runs."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.02):
                self.sample()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.sample()


def grey(number: int = 0) -> bytes:
    """Return a harmless picture."""
    return saved(numbered(number), "PNG")


@pytest.fixture(scope="module")
def decoder() -> Iterator[SandboxDecoder]:
    # Time is bounded by what is measured below, not by the cap: other work on this machine must not decide.
    with SandboxDecoder(Caps(max_seconds=60), jobs=1) as made:
        yield made


@pytest.fixture(scope="module")
def made() -> Callable[[Bomb], bytes]:
    """Return what makes each bomb once, which costs more than some of them do."""
    return cache(lambda bomb: bomb.make())


def outcome(decoder: SandboxDecoder, bomb: Bomb, data: bytes) -> Decoded | Unscannable:
    try:
        return decoder.decode(data, bomb.media_type)
    except Unscannable as refusal:
        return refusal


@pytest.mark.parametrize("bomb", BOMBS, ids=str)
def test_a_bomb_costs_little(decoder: SandboxDecoder, made: Callable[[Bomb], bytes], bomb: Bomb) -> None:
    """Seconds of processor time and address space are bounded, the reason is the right one, and the next is decoded."""
    data = made(bomb)
    assert len(data) <= decoder.caps.max_bytes
    assert decoder.sniff(data[:4096]) is bomb.media_type
    decoder.decode(grey(), MediaType.PNG)
    (child,) = decoder._children
    cost = Cost(child._process.pid)
    with cost.watched():
        result = outcome(decoder, bomb, data)
    assert cost.seconds < bomb.seconds * _SLACK
    assert cost.peak_bytes <= decoder.caps.max_memory_bytes
    if isinstance(result, Unscannable):
        assert result.reason in bomb.reasons, result.detail
    else:
        assert bomb.judged
        assert result.partly is None or Reason(result.partly.split(":")[0]) in bomb.reasons
    assert decoder.decode(grey(1), MediaType.PNG).partly is None
    assert decoder._children == {child}, "a bomb within the caps is no reason to start another child"


def swept(tmp_path: Path, decoder: SandboxDecoder, objects: dict[str, bytes]) -> tuple[Tally, list[Row]]:
    """Make one whole pass and return its counts and what the ledger has."""
    bench = Bench(tmp_path / "ledger.db", FakeStore(objects), policy=RED, decoder=decoder, detectors=[RedPixels()])  # type: ignore[arg-type, list-item]
    try:
        tally, _ = bench.scan()
        return tally, bench.rows()
    finally:
        bench.close()


def test_a_pass_over_bombs_judges_their_neighbours(tmp_path: Path, made: Callable[[Bomb], bytes]) -> None:
    """Bombs, a harmless picture between each two: nothing is lost, and nobody is condemned.

    Of those that are decoded, which takes long, one in three: that others follow each of them is tried above.
    """
    bombs = [bomb for number, bomb in enumerate(BOMBS) if not bomb.judged or number % 3 == 0]
    objects = {f"{number:03} b {bomb}": made(bomb) for number, bomb in enumerate(bombs)}
    objects |= {f"{number:03} a neighbour": grey(number) for number in range(len(bombs))}
    with SandboxDecoder(Caps(max_seconds=60), jobs=2) as decoder:
        tally, rows = swept(tmp_path, decoder, objects)
    assert tally.accounted
    assert tally.listed == len(objects)
    assert (tally.block, tally.review, tally.planned) == (0, 0, 0)
    assert {row.key for row in rows if "neighbour" in row.key and row.verdict is Verdict.CLEAR} == {
        key for key in objects if "neighbour" in key
    }
    assert tally.unscanned.get("decoder_crashed", 0) == 0
    assert tally.unscanned["too_large"] >= 10
    assert tally.partly >= 3


# What a decoder that was taken over may try, with what is said of the medium in hand.
_DEEDS = {
    "segfault": Reason.DECODER_CRASHED,
    "abort": Reason.DECODER_CRASHED,
    "leave:0": Reason.DECODER_CRASHED,
    "raise": Reason.DECODER_CRASHED,
    "say:00": Reason.DECODER_CRASHED,
    "try:fork": Reason.DECODER_CRASHED,
    "try:exec": Reason.DECODER_CRASHED,
    "try:internet socket": Reason.DECODER_CRASHED,
    "try:create a file": Reason.DECODER_CRASHED,
    "try:trace its parent": Reason.DECODER_CRASHED,
    "burn": Reason.TOO_SLOW,
    "sleep": Reason.TOO_SLOW,
    "allocate without end": Reason.TOO_LARGE,
    "tell:garbled": Reason.CORRUPT,
}


def test_a_pass_with_hostile_decoders_judges_the_neighbours(tmp_path: Path) -> None:
    """Whatever becomes of a child, it is counted by its reason, another takes its place, and nothing is removed."""
    objects = {f"{number:03} b": SIGNATURE + deed.encode() for number, deed in enumerate(_DEEDS)}
    objects |= {f"{number:03} a": SIGNATURE + b"grey:%d" % number for number in range(len(_DEEDS))}
    objects["999 part"] = SIGNATURE + b"grey then segfault"
    caps = Caps(max_memory_bytes=512 * MIB, max_seconds=3.0)
    with SandboxDecoder(caps, jobs=2, child_module="support.hostile.child") as decoder:
        tally, rows = swept(tmp_path, decoder, objects)
    assert tally.accounted
    assert tally.unscanned == {
        reason.value: sum(each is reason for each in _DEEDS.values()) for reason in set(_DEEDS.values())
    }
    found = {row.key: row for row in rows}
    for number, reason in enumerate(_DEEDS.values()):
        assert found[f"{number:03} b"].unscanned is reason
        assert found[f"{number:03} a"].verdict is Verdict.CLEAR
    assert (found["999 part"].verdict, tally.partly) == (Verdict.CLEAR, 1)
    assert "SIGSEGV" in str(found["999 part"].partly)
    assert (tally.planned, tally.acted) == (0, 0)
