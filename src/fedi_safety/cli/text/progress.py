"""Passes while they run, as somebody sees them: lines on a terminal that change, or a line a minute where none is."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fedi_safety.core.errors import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from fedi_safety.core.ledger.progress import Progress

EVERY_S = 60.0
"""How often a line is written where no terminal is."""
_A_SECOND = 4  # times that a terminal is drawn
_MOST_PLACES = 6


def lines(passes: Sequence[Progress], width: int, elapsed_s: float) -> list[str]:
    """Return what a terminal of so many columns shows of passes that run side by side; no line is wider."""
    from fedi_safety.reports.progress import clock_text, counts_text, how_far, summed

    if not passes:
        return []
    whole = summed(passes)
    found = [_cut(f"{how_far(whole)}  {clock_text(elapsed_s)}", width), _cut(f"  {counts_text(whole)}", width)]
    for one in passes[:_MOST_PLACES]:
        name = f"{one.store}: " if len(passes) > 1 else ""
        found.append("  " + _end_of(f"{name}{one.place}", width - 2))
    return found


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def _end_of(text: str, width: int) -> str:
    """Return the end of a place, which tells most, in so many columns; letters may be two wide."""
    from rich.cells import cell_len

    shown = printable(text)
    if cell_len(shown) <= width:
        return shown
    while shown and cell_len(shown) > width - 1:
        shown = shown[1:]
    return f"…{shown}"


class _Drawn:
    """What rich draws: always as it is now."""

    def __init__(self, passes: Callable[[], Sequence[Progress]]) -> None:
        self._passes = passes
        self._began = time.monotonic()

    def __rich_console__(self, console: Console, options: object) -> Iterator[RenderableType]:
        from rich.spinner import Spinner
        from rich.text import Text

        del options
        elapsed_s = time.monotonic() - self._began
        first, *others = lines(self._passes(), console.width - 3, elapsed_s) or ["looking"]
        frame = Spinner("dots").frames[int(elapsed_s * 10) % 10]
        yield Text(f"{frame} {first}", no_wrap=True, overflow="crop")
        for other in others:
            yield Text(other, style="dim", no_wrap=True, overflow="crop")


@contextmanager
def shown(passes: Callable[[], Sequence[Progress]], say: Callable[[str], None]) -> Iterator[None]:
    """Show how far `passes` are while the block runs: on a terminal as it changes, else by `say` once a minute."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        with _said(passes, say):
            yield
        return
    from rich.live import Live

    with Live(_Drawn(passes), console=console, refresh_per_second=_A_SECOND, transient=True), _logs_above():
        yield


@contextmanager
def waiting(for_what: str, *, quiet: bool) -> Iterator[None]:
    """Say on a terminal what is waited for while the block runs; elsewhere nothing."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if console.is_dumb_terminal:
        yield
        return
    with console.status(for_what), _logs_above():
        yield


@contextmanager
def _logs_above() -> Iterator[None]:
    """Have what is logged go above what is drawn, as everything else does that is written to standard error now."""
    before = [(each, each.stream) for each in logging.root.handlers if isinstance(each, logging.StreamHandler)]
    for handler, _ in before:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler, stream in before:
            handler.setStream(stream)


@contextmanager
def _said(passes: Callable[[], Sequence[Progress]], say: Callable[[str], None]) -> Iterator[None]:
    from fedi_safety.reports.progress import pass_line, summed

    over = threading.Event()

    def work() -> None:
        while not over.wait(EVERY_S):
            if found := passes():
                say(pass_line(summed(found)))

    thread = threading.Thread(target=work, name="progress line", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1.0)
