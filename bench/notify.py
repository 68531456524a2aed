"""What the outbox adds to a pass: one scan with nobody to tell, and one with an address on loopback, told at once.

Every twentieth picture is condemned by a stand-in policy and removed, from a copy of the corpus that is made for each
turn. The two are run in turns; what counts is the processor time of the pass and its children.
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
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bench.corpus import default_work, tiny_corpus
from bench.measure import machine, machine_line, write_result

from fedi_safety.app.engine import Engine, caps
from fedi_safety.app.ledger import open_settings_ledger
from fedi_safety.app.notices.channels import checked
from fedi_safety.app.notices.sending import sending
from fedi_safety.app.scan import scan
from fedi_safety.app.stores import named_store
from fedi_safety.config.loading import load_settings
from fedi_safety.core.enums import ActKind, Verdict
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.runs import ACTED_LOGGER, ScanRequest
from fedi_safety.core.types import Evidence, Scored
from fedi_safety.media import SandboxDecoder
from support.receivers import receiver

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


def one_pass(corpus: Path, url: str | None) -> tuple[float, float, int]:
    """Scan a copy of the corpus; return seconds of processor time, seconds, and how many objects were removed."""
    with tempfile.TemporaryDirectory(dir=corpus.parent) as place:
        folder = Path(place) / "media"
        shutil.copytree(corpus, folder, copy_function=os.link)
        told = {} if url is None else {"notify": {"urls": [url], "digest_minutes": 0}}
        breaker = {"max_removed_share": 1.0, "max_removed": 1 << 30}
        settings = load_settings(os.devnull, ledger=f"{place}/ledger.db", breaker=breaker, **told)
        ledger, store = open_settings_ledger(settings), named_store(settings, str(folder))
        engine = Engine(SandboxDecoder(caps(settings), 2), [Twentieth()], "none", 2)
        try:
            with sending(ledger, checked(settings), None):
                before, began = _spent(), time.monotonic()
                request = ScanRequest(store.url, act=ActKind.DELETE)
                report = scan(settings, request, ledger=ledger, store=store, engine=engine, policy=POLICY)
                took = time.monotonic() - began
                engine.close()  # waits for its children, whose time counts from then on
                return _spent() - before, took, report.tally.acted
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
    parser.add_argument("--pairs", type=int, default=7, help="how often each of the two is run")
    parser.add_argument("--work", type=Path, default=default_work(), help="where the corpus is kept")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    logging.getLogger(ACTED_LOGGER).setLevel(logging.ERROR)
    corpus = tiny_corpus(options.work, options.files)
    rows: list[dict[str, float]] = []
    print(machine_line(machine()))
    with receiver() as other:
        one_pass(corpus, None), one_pass(corpus, other.webhook)  # what is loaded once is loaded
        for turn in range(options.pairs):
            found: dict[str, float] = {}
            for word, url in [("alone", None), ("told", other.webhook)][:: 1 if turn % 2 else -1]:
                cpu_s, wall_s, removed = one_pass(corpus, url)
                found |= {f"{word}_cpu_s": cpu_s, f"{word}_s": wall_s, "removed": removed}
            rows.append(found)
            print(f"{found['removed']} removed: {found['alone_cpu_s']:.2f} s alone, {found['told_cpu_s']:.2f} s told")
        messages = len(other.taken)
    ratios = {
        way: statistics.median(row[f"told_{way}"] / row[f"alone_{way}"] for row in rows) for way in ("cpu_s", "s")
    }
    print(f"told / alone, median of {len(rows)}: processor time {ratios['cpu_s']:.4f}, wall {ratios['s']:.4f}")
    print(f"{messages} messages arrived")
    write_result("notify", {"machine": machine(), "pairs": rows, "ratios": ratios, "messages": messages}, options.out)


if __name__ == "__main__":
    main()
