"""I3: the real program is killed over and over at any instant of its work; disk and ledger agree, and it ends well."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.enums import PlanState
from fedi_safety.core.ledger.records import Filters, Row
from fedi_safety.ledger.ledger import open_ledger
from support import stand_in
from support.corpus import shapes
from support.program import command, program
from support.share import Share

pytestmark = pytest.mark.long

CONDEMNED, CLEARED, HARMLESS = 120, 3, 4
AT_A_TIME = 12  # removals that a run may see before it is killed
REMOVED = (PlanState.STARTED, PlanState.DONE, PlanState.GONE)
NOT_YET = (PlanState.PLANNED, PlanState.STARTED, PlanState.FAILED)
WAYS = (("scan",), ("scan",), ("apply",), ("watch", "--every", "1s"))
LONGEST_S = 4.0  # `watch` does not end by itself


class Instance:
    """A folder of pictures with its ledger, in which the program runs until it is killed."""

    def __init__(self, folder: Path, pictures: dict[str, bytes], draw: random.Random) -> None:
        """Fill it, make a dry run, and let a person clear some of what would be removed."""
        self.media, self.ledger, self.draw = folder / "media", folder / "ledger.db", draw
        self.media.mkdir(parents=True)
        for name, data in pictures.items():
            (self.media / name).write_bytes(data)
        self.config = stand_in.write_config(folder, self.media)
        self.finish("scan", "--dry-run", "--act", "delete")
        condemned = {row.key for row in self.rows() if row.act_state is PlanState.PLANNED}
        self.cleared = set(draw.sample(sorted(condemned), CLEARED))
        self.clear()
        self.condemned = condemned - self.cleared
        self.kept = set(pictures) - self.condemned
        self.takes_s = dict.fromkeys(WAYS, 2.0)

    def clear(self) -> None:
        """A person says of these contents that they were judged wrongly."""
        ledger = open_ledger(self.ledger, clock=SystemClock())
        for row in list(ledger.list_objects(Filters())):
            if row.key in self.cleared:
                assert row.sha256 is not None
                ledger.dismiss(row.sha256, "a person looked")
        ledger.dispose()

    def arguments(self, *which: str) -> list[str]:
        """Return a command's arguments, with the configuration and the ledger."""
        return [*which, "--yes", "--quiet", "--config", str(self.config), "--ledger", str(self.ledger)]

    def finish(self, *which: str) -> None:
        """Run a command to its end."""
        done = program(*self.arguments(*which))
        assert done.code == 0, (which, done)

    def rows(self) -> list[Row]:
        """Return what the ledger lists, which must verify."""
        ledger = open_ledger(self.ledger, clock=SystemClock(), readonly=True)
        try:
            assert ledger.verify().problem is None
            return list(ledger.list_objects(Filters()))
        finally:
            ledger.dispose()

    def there(self) -> set[str]:
        """Return which files there are."""
        return set(os.listdir(self.media))  # noqa: PTH208 - a thousand times a second

    def kill(self) -> str | None:
        """Start a command and kill it at an instant that is drawn; return how far it was, None if it had ended.

        The instant is some time after its start, or when so many files are left.
        """
        way = self.draw.choice(WAYS)
        began, before = time.monotonic(), self.there()
        at = began + self.draw.uniform(0.4, 1.1) * self.takes_s[way]
        left = len(before) - self.draw.randrange(AT_A_TIME) if self.draw.random() < 0.5 else -1
        if left >= 0:
            at = began + 2 * LONGEST_S
        running = subprocess.Popen(command(*self.arguments(*way)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert running.stderr is not None
        with running.stderr as said:
            while time.monotonic() < at and running.poll() is None and not len(self.there()) < left:
                time.sleep(0.001)
            running.kill()
            code, words = running.wait(), said.read()
        if way[0] != "watch":
            self.takes_s[way] = min(time.monotonic() - began, LONGEST_S) if code == 0 else self.takes_s[way]
        assert code in (0, -9), (way, code, words)
        gone = len(before) - len(self.there())
        return f"{way[0]}, {'amid removals' if gone > 0 else 'before or after them'}" if code else None

    def check(self) -> None:
        """Disk and ledger agree; what a person cleared and what is harmless is there."""
        there = self.there()
        assert self.kept <= there, self.kept - there
        states = {row.key: row.act_state for row in self.rows()}
        for key in self.condemned:
            agrees = states[key] in (NOT_YET if key in there else REMOVED)
            assert agrees or (key not in there and self.was_interrupted(key)), (key, key in there, states[key])

    def was_interrupted(self, key: str) -> bool:
        """Whether an act at it is on record that was killed: the next run plans it anew, and may be killed as well."""
        ledger = open_ledger(self.ledger, clock=SystemClock(), readonly=True)
        try:
            shown = ledger.show(key)
            assert shown is not None and shown.acts
            return (shown.plans[-1]["state"], shown.acts[-1]["outcome"]) == (PlanState.PLANNED, "interrupted")
        finally:
            ledger.dispose()

    def check_finished(self) -> None:
        """The next run needs nobody's help."""
        self.finish("scan")
        self.check()
        assert self.there() == self.kept
        assert all(
            row.act_state in (PlanState.DONE, PlanState.GONE) for row in self.rows() if row.key in self.condemned
        )


def one_life(folder: Path, pictures: dict[str, bytes], seed: int, kills: int) -> Counter[str]:
    """Kill the program in folder after folder until it was killed so often; return how far it was."""
    draw, killed = random.Random(seed), Counter[str]()
    for number in count():
        if killed.total() >= kills:
            break
        instance = Instance(folder / str(number), pictures, draw)
        while killed.total() < kills and instance.there() != instance.kept:
            how = instance.kill()
            killed.update([how] if how is not None else [])
            instance.check()
        instance.check_finished()
    return killed


def test_killed_at_any_instant_disk_and_ledger_agree(tmp_path: Path, share: Share) -> None:
    red_circle, other = (("red", "circle"),), (("blue", "square"),)
    pictures = {f"bad{i:02}.png": shapes.png_bytes(shapes.scene(i, red_circle)) for i in range(CONDEMNED)}
    pictures |= {f"fine{i}.png": shapes.png_bytes(shapes.scene(i, other)) for i in range(HARMLESS)}
    kills, lives = share.of(8, 1000), min(2, share.of(1, 2))
    with ThreadPoolExecutor(lives) as pool:
        lived = [
            pool.submit(one_life, tmp_path / str(life), pictures, share.seed + life, kills // lives)
            for life in range(lives)
        ]
        killed = sum((life.result() for life in lived), Counter[str]())
    share.figure(f"killed {killed.total()} times: {dict(sorted(killed.items()))}")
    assert killed.total() >= kills
