"""A message that tells of nothing, to see whether messages arrive. It goes past the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from fedi_safety.app.notices.channels import Line
from fedi_safety.core.ledger.notices import Sent
from fedi_safety.core.notices.text import trial


def tried(lines: Sequence[Line], name: str | None) -> Iterator[tuple[str, Sent]]:
    """Send it to everybody at once; yield for each channel how that went."""
    said, facts = trial(name, time.time())
    with ThreadPoolExecutor(len(lines)) as pool:
        results = pool.map(lambda line: line.open().send(said, facts), lines)
        yield from ((line.channel.name, sent) for line, sent in zip(lines, results, strict=True))
