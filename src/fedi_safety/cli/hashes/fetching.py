"""`hashes fetch`: lists brought to what their sources have now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.hashes.opened import opened_ledger
from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import on_stop, shell, worst, write_json
from fedi_safety.core.errors import ExitCode, FediSafetyError

if TYPE_CHECKING:
    from fedi_safety.app.known.sources import Brought


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

    from fedi_safety.app.known.lists import open_catalog
    from fedi_safety.app.known.sources import bring, named_sources
    from fedi_safety.app.sharing.subscribing import fetch as read_on
    from fedi_safety.app.sharing.subscribing import open_publishers
    from fedi_safety.cli.hashes.publishers import brought_json, brought_lines
    from fedi_safety.cli.hashes.words import fetched_lines

    sh = shell(config, ledger, log_level, quiet, yes)
    publishers = [each.name for each in open_publishers(sh.settings).all() if name in (None, each.name)]
    # Who subscribes need not have a source configured.
    bare = publishers and (name is not None or not sh.settings.known.sources)
    sources = [] if bare else named_sources(sh.settings, name)
    said: list[dict[str, Any]] = []
    codes: list[int] = []
    stop = Event()

    def halt() -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    with opened_ledger(sh) as records, open_catalog(sh.settings) as catalog, on_stop(halt):
        for source in sources:
            if stop.is_set():
                break
            try:
                brought = bring(sh.settings, records, catalog, source, keep_going=lambda: not stop.is_set(), anew=anew)
            except FediSafetyError as error:
                if len(publishers) + len(sources) == 1 and not json_output:
                    raise
                sh.warn(error.line())
                codes.append(error.exit_code)
                said.append({"source": source.name, "error": error.line()})
                continue
            said.append(_json(brought))
            for line in () if json_output else fetched_lines(brought):
                sh.say(line)
        for publisher in publishers:
            if stop.is_set():
                break
            try:
                read = read_on(sh.settings, records, catalog, publisher)
            except FediSafetyError as error:
                if len(publishers) + len(sources) == 1 and not json_output:
                    raise
                sh.warn(error.line())
                codes.append(error.exit_code)
                said.append({"publisher": publisher, "error": error.line()})
                continue
            said.append(brought_json(read))
            for line in () if json_output else brought_lines(read):
                sh.say(line)
        catalog.merge()
    if json_output:
        write_json({"sources": said})
    return ExitCode.INTERRUPTED if stop.is_set() else worst(codes)


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
