"""I5: every object is accounted for: listed = judged + already judged + skipped + unscanned, run after run."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from fedi_safety.core.enums import Reason
from support.corpus.photos import jpeg_bytes
from support.fakes import FakeStore
from support.passes import CIRCLE, RED, Bench
from support.program import program


def test_over_many_runs_of_a_changing_store(tmp_path: Path) -> None:
    rng = random.Random(5)
    store = FakeStore()
    bench = Bench(tmp_path / "ledger.db", store)
    for turn in range(12):
        for _ in range(40):
            key = f"{rng.randrange(200):03d}"
            store.put(key, rng.choice([RED, CIRCLE, b"text", b"bad corrupt"]) + b" %d" % rng.randrange(5))
        store.failing = {key: rng.choice(list(Reason)) for key in rng.sample(sorted(store.objects), 5)}
        for key in rng.sample(sorted(store.objects), 5):
            store.objects.pop(key)
        tally, _ = bench.scan(dry_run=turn % 2 == 0)
        assert tally.accounted, (turn, tally)
        assert tally.listed == len(store.objects)
        bench.clock.advance(60 * turn)
    bench.close()


@pytest.mark.long
def test_the_report_names_the_gaps(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (media / "a.jpg").write_bytes(jpeg_bytes("coffee"))
    (media / "b.csv").write_text("a,b")
    os.mkfifo(media / "pipe")
    (media / "link").symlink_to("/etc/passwd")
    (media / "half.jpg").write_bytes(jpeg_bytes("china")[:300])
    done = program("scan", str(media), "--dry-run", "--json").json
    assert done["skipped"] == {"not_media": 1, "special_file": 1, "symlink": 1}
    assert (done["listed"], done["unscanned"]) == (5, {"truncated": 1})
    report = program("report")
    for word in ("not_media", "special_file", "symlink", "truncated", "50"):
        assert word in report.out, report.out
