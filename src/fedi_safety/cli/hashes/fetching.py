"""`hashes fetch`: lists brought to what their sources have now."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.hashes.opened import opened_ledger
from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import on_stop, shell, worst, write_json
from fedi_safety.core.errors import ExitCode, FediSafetyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fedi_safety.app.known.sources import Brought
    from fedi_safety.cli.shell import Shell
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.known.catalog import Catalog
    from fedi_safety.known.sources import ListSource


def fetch(
    name: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="A source, or a publisher; left out, all of them.")
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Read it from the beginning, whatever was read before.")] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Fetch lists from configured sources and publishers, and apply what is new to what was judged before."""
    from threading import Event

    from fedi_safety.app.known.lists import check_there, open_catalog

    sh = shell(config, ledger, log_level, quiet, yes)
    stop = Event()

    def halt() -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    said: list[dict[str, Any]] = []
    codes: list[int] = []
    with opened_ledger(sh) as records, open_catalog(sh.settings) as catalog, on_stop(halt):
        check_there(sh.settings, records, catalog)
        places = _places(sh, records, catalog, name, lambda: not stop.is_set(), anew)
        for told, fetched in places:
            if stop.is_set():
                break
            try:
                as_json, lines = fetched()
            except FediSafetyError as error:
                if len(places) == 1 and not json_output:
                    raise
                sh.warn(error.line())
                codes.append(error.exit_code)
                said.append({**told, "error": error.line()})
                continue
            said.append(as_json)
            for line in () if json_output else lines:
                sh.say(line)
        catalog.merge()
    if json_output:
        write_json({"sources": said})
    return ExitCode.INTERRUPTED if stop.is_set() else worst(codes)


def _places(
    sh: Shell, ledger: WholeLedger, catalog: Catalog, name: str | None, keep_going: Callable[[], bool], anew: bool
) -> list[tuple[dict[str, str], Callable[[], tuple[dict[str, Any], Iterable[str]]]]]:
    """Return what is fetched, each with what fetches it and tells of it: for programs, and for people."""
    from fedi_safety.app.known.sources import bring, named_sources
    from fedi_safety.app.sharing.subscribing import fetch as read_on
    from fedi_safety.app.sharing.subscribing import open_publishers
    from fedi_safety.cli.hashes.publishers import brought_json, brought_lines
    from fedi_safety.cli.hashes.words import fetched_lines

    def of_source(source: ListSource) -> tuple[dict[str, Any], Iterable[str]]:
        brought = bring(sh.settings, ledger, catalog, source, keep_going=keep_going, anew=anew)
        return _json(brought), fetched_lines(brought)

    def of_publisher(publisher: str) -> tuple[dict[str, Any], Iterable[str]]:
        read = read_on(sh.settings, ledger, catalog, publisher)
        return brought_json(read), brought_lines(read)

    publishers = [each.name for each in open_publishers(sh.settings).all() if name in (None, each.name)]
    # Who subscribes need not have a source configured.
    bare = publishers and (name is not None or not sh.settings.known.sources)
    sources = [] if bare else named_sources(sh.settings, name)
    return [
        *(({"source": each.name}, partial(of_source, each)) for each in sources),
        *(({"publisher": each}, partial(of_publisher, each)) for each in publishers),
    ]


def _json(brought: Brought) -> dict[str, Any]:
    fetched = brought.fetched
    done = fetched.imported
    return {
        "source": fetched.source.name,
        "kind": fetched.source.kind,
        "complete": fetched.complete,
        "added": done.added,
        "replaced": done.replaced,
        "removed": done.removed,
        "refused": {refusal.name.lower(): number for refusal, number in done.refused.items()},
        "unusable": dict(fetched.flaws),
        "withdrawn": fetched.withdrawn,
        "sent": fetched.sent,
        "applied": None if brought.applied is None else brought.applied.as_json(),
    }
