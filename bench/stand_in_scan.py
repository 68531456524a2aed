"""A dry scan with a detector that looks at a picture's colour only, for benchmarks of everything but the networks."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fedi_safety.app.engine import Engine, caps
from fedi_safety.app.ledger import open_settings_ledger
from fedi_safety.app.scan import scan
from fedi_safety.app.stores import named_store
from fedi_safety.config.loading import load_settings
from fedi_safety.core.runs import ScanRequest
from fedi_safety.core.types import Evidence, Scored
from fedi_safety.detectors.embedded.age import Age
from fedi_safety.detectors.embedded.nudenet import NudeNet
from fedi_safety.detectors.embedded.open_nsfw import OpenNsfw
from fedi_safety.media import SandboxDecoder
from fedi_safety.policies import load_policy
from fedi_safety.service.cpus import cpu_count


class Redness:
    """Gives every signal of the embedded detectors a small value that depends on the colour of a few pixels."""

    name = "redness"
    version = "1"
    signals = (*OpenNsfw.signals, *NudeNet.signals, *Age.signals)
    after: tuple[str, ...] = ()
    cost = 0.01
    max_batch = 32

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        """Score a batch of frames."""
        return [Scored(dict.fromkeys(self.signals, sum(e.frame.rgb[:300:3]) / 1e6)) for e in batch]


def main(folder: Path, ledger: Path) -> None:
    """Scan `folder` dry into `ledger` and print the closing JSON, as `scan --dry-run --json` does."""
    settings = load_settings(ledger=str(ledger))
    store = named_store(settings, str(folder))
    records = open_settings_ledger(settings)
    jobs = cpu_count()
    engine = Engine(SandboxDecoder(caps(settings), jobs), [Redness()], "none", jobs)
    try:
        request = ScanRequest(store.url, dry_run=True)
        report = scan(
            settings, request, ledger=records, store=store, engine=engine, policy=load_policy(settings.policy)
        )
    finally:
        engine.close()
        records.dispose()
        store.close()
    print(json.dumps(report.as_json() | {"stages": dict(report.stages)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
