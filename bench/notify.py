"""What being told adds to a pass: one scan with nobody to tell, and one with an address on loopback, told at once.

Every twentieth picture is condemned by a stand-in policy and removed, from a copy of the corpus that is made for each
turn. Nothing is gathered, and with `--look` it is looked more often than by the daemon whether there is something to
send, so that messages are sent and arrive all through the pass; a pass in which none arrives is no measurement. The two
are run in pairs, in turns. What counts is the processor time of the pass, the receiver's with it, the time on the
clock, and the processor time in what being told does, which is sure on a busy machine as well.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bench.corpus import default_work, tiny_corpus
from bench.measure import interval, machine, machine_line, write_result

from fedi_safety.app.engine import Engine, caps
from fedi_safety.app.ledger import open_settings_ledger
from fedi_safety.app.notices.channels import checked
from fedi_safety.app.notices.sending import ChannelSender, sending
from fedi_safety.app.scan import scan
from fedi_safety.app.stores import named_store
from fedi_safety.config.loading import load_settings
from fedi_safety.core.enums import ActKind, Verdict
from fedi_safety.core.notices.text import trial
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.runs import ACTED_LOGGER, ScanRequest
from fedi_safety.core.types import Evidence, Scored
from fedi_safety.ledger.notices.outbox import Outbox
from fedi_safety.media import SandboxDecoder
from fedi_safety.notify.urls import UrlSender
from support.receivers import Receiver, receiver

POLICY = Policy("stand-in", {"chosen": ("face.present",)}, (Rule("a twentieth", {"chosen": 0.5}, Verdict.BLOCK),))


class Twentieth:
    """Chooses every twentieth picture: those of the corpus look alike, and differ in their bytes."""

    name = "twentieth"
    version = "1"
    signals = ("face.present",)
    after: tuple[str, ...] = ()
    cost = 0.01
    max_batch = 32

    def __init__(self) -> None:
        """Have seen none."""
        self._seen = itertools.count()

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Score a batch of frames."""
        return [Scored({"face.present": float(next(self._seen) % 20 == 0)}) for _ in batch]


_TRIALS = 50


class Direct:
    """Seconds of processor time in what being told does: writing notices with events, looking for them, sending.

    It does not depend on what else a machine does, as the difference of two passes does. Of a message itself, which
    apprise sends in a thread of its own, each counts as in `each_s`, with the receiver's part.
    """

    def __init__(self, other: Receiver) -> None:
        """Measure from now on. One message is sent again and again first, to learn what each takes."""
        self.spent_s = 0.0
        Outbox.hear = self._timed(Outbox.hear)  # type: ignore[method-assign]
        ChannelSender.rest_s = self._timed(ChannelSender.rest_s)  # type: ignore[method-assign]
        ChannelSender.step = self._timed(ChannelSender.step)  # type: ignore[method-assign]
        sender = UrlSender(other.webhook, "a trial")
        said, facts = trial(None, 0.0)
        sender.send(said, facts)
        before = time.process_time()
        for _ in range(_TRIALS):
            sender.send(said, facts)
        self.each_s = (time.process_time() - before) / _TRIALS

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            before = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.spent_s += time.thread_time() - before

        return timed


def one_pass(corpus: Path, other: Receiver | None, look_s: float) -> tuple[float, float, int, int]:
    """Scan a copy of the corpus; return seconds of processor time, seconds, objects removed, messages that arrived."""
    with tempfile.TemporaryDirectory(dir=corpus.parent) as place:
        folder = Path(place) / "media"
        shutil.copytree(corpus, folder, copy_function=os.link)
        told = {} if other is None else {"notify": {"urls": [other.webhook], "digest_minutes": 0}}
        arrived = 0
        breaker = {"max_removed_share": 1.0, "max_removed": 1 << 30}
        settings = load_settings(os.devnull, ledger=f"{place}/ledger.db", breaker=breaker, **told)
        ledger, store = open_settings_ledger(settings), named_store(settings, str(folder))
        engine = Engine(SandboxDecoder(caps(settings), 2), [Twentieth()], "none", 2)
        try:
            lines = checked(settings)
            for line in lines:
                line.open()  # apprise is loaded once in a daemon's life
            with sending(ledger, lines, None, look_s=look_s):
                had = 0 if other is None else len(other.taken)
                before, began = _spent(), time.monotonic()
                request = ScanRequest(store.url, act=ActKind.DELETE)
                report = scan(settings, request, ledger=ledger, store=store, engine=engine, policy=POLICY)
                took = time.monotonic() - began
                arrived = 0 if other is None else len(other.taken) - had
                engine.close()  # waits for its children, whose time counts from then on
                return _spent() - before, took, report.tally.acted, arrived
        finally:
            engine.close()
            store.close()
            ledger.dispose()


def _spent() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    """Measure pairs, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000, help="files of the corpus")
    parser.add_argument("--pairs", type=int, default=12, help="how often each of the two is run")
    parser.add_argument("--look", type=float, default=0.5, help="seconds between looks; the daemon's are 5")
    parser.add_argument("--work", type=Path, default=default_work(), help="where the corpus is kept")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    logging.getLogger(ACTED_LOGGER).setLevel(logging.ERROR)
    corpus = tiny_corpus(options.work, options.files)
    rows: list[dict[str, float]] = []
    print(machine_line(machine()))
    with receiver() as other:
        direct = Direct(other)
        one_pass(corpus, None, options.look), one_pass(corpus, other, options.look)  # what is loaded once is loaded
        for turn in range(options.pairs):
            found: dict[str, float] = {}
            for word, to in [("alone", None), ("told", other)][:: 1 if turn % 2 else -1]:
                direct.spent_s = 0.0
                cpu_s, wall_s, removed, arrived = one_pass(corpus, to, options.look)
                found |= {f"{word}_cpu_s": cpu_s, f"{word}_s": wall_s, "removed": removed}
                if to is not None:
                    found |= {"messages": arrived, "direct_s": direct.spent_s + arrived * direct.each_s}
            if not found["messages"]:
                raise SystemExit("no message arrived within the pass: give more --files")
            rows.append(found)
            print(
                f"{found['removed']} removed, {found['messages']} messages: "
                f"{found['alone_cpu_s']:.2f} s alone, {found['told_cpu_s']:.2f} s told, {found['direct_s']:.3f} s of it"
            )
    ratios = {way: [row[f"told_{way}"] / row[f"alone_{way}"] for row in rows] for way in ("cpu_s", "s")}
    ratios["direct"] = [1.0 + row["direct_s"] / row["alone_cpu_s"] for row in rows]
    said: dict[str, dict[str, object]] = {}
    for way, word in (("cpu_s", "processor time"), ("s", "wall"), ("direct", "what being told does itself")):
        median, (low, high) = statistics.median(ratios[way]), interval(ratios[way])
        said[way] = {"median": median, "interval_95": (low, high)}
        print(f"{word}, told / alone, median of {len(rows)} pairs: {median:.4f} ({low:.4f} to {high:.4f})")
    write_result("notify", {"machine": machine(), "pairs": rows, "ratios": said}, options.out)


if __name__ == "__main__":
    main()
