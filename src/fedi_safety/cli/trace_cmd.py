"""`trace`: who put it there, as far as the server behind the store tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell, write_json
from fedi_safety.core.errors import printable

if TYPE_CHECKING:
    from fedi_safety.core.ledger.ports import LedgerReader
    from fedi_safety.core.ledger.records import Shown
    from fedi_safety.core.sightings import Subject, TraceRecord
    from fedi_safety.core.types import Object

_MOST_OBJECTS = 20


def trace(
    key: Annotated[
        str, typer.Argument(metavar="KEY|SHA256|URL", help="An object's key, its path, a SHA-256, or a public address.")
    ],
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Find out who put an object there: person, instance and post, as far as the server tells. It is kept."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.notices.conditions import say_heard
    from fedi_safety.app.tracing import trace as trace_all
    from fedi_safety.cli.text.lookup import sighting_lines, trace_json, trace_text

    sh = shell(config, ledger, log_level, quiet, yes)
    records = open_settings_ledger(sh.settings)
    made: list[TraceRecord] = []
    try:
        for record in trace_all(sh.settings, _asked(records, key), records):
            made.append(record)
            if not json_output and not _failed(record):
                subject = record.subject
                typer.echo(printable(subject.key or subject.url or (subject.sha256 or b"").hex()))
                for line in (trace_text(record), *sighting_lines(record)):
                    typer.echo(f"  {printable(line)}")
    finally:
        say_heard(records)
        records.dispose()
    if json_output:
        write_json({"traces": [trace_json(record) for record in made]})
    return _ending(key, made)


def _asked(ledger: LedgerReader, key: str) -> list[tuple[Subject, Object | None]]:
    """Return what is asked about: the objects that the ledger knows, else the content or the address by itself."""
    from fedi_safety.cli.text.lookup import find
    from fedi_safety.core.sightings import Subject

    if re.match(r"https?://", key):
        shown = _by_address(ledger, key)
        return [(Subject(url=key), None)] if shown is None else _objects(shown)
    return _objects(find(ledger, key))


def _objects(shown: Shown) -> list[tuple[Subject, Object | None]]:
    from fedi_safety.core.sightings import Subject
    from fedi_safety.core.types import Object

    asked: list[tuple[Subject, Object | None]] = []
    for row in shown.rows[:_MOST_OBJECTS]:
        # Version and tag play no part: it is asked whose it is, not whether it is still the same.
        obj = None if row.size is None else Object(row.key, row.size, 0)
        asked.append((Subject(row.store, row.key, row.sha256), obj))
    # What is no object, the gate may have refused; a hook told its address then.
    url = next((upload["url"] for upload in shown.uploads if upload["url"] is not None), None)
    return asked or [(Subject(sha256=shown.sha256, url=url), None)]


def _by_address(ledger: LedgerReader, url: str) -> Shown | None:
    """Find the object whose key is the end of an address' path: what stands before it is the server's to choose."""
    from fedi_safety.core.sightings import Subject

    parts = (Subject(url=url).path or "").split("/")
    keys = ("/".join(parts[at:]) for at in range(len(parts)))
    return next((shown for key in keys if key and (shown := ledger.show(key)) is not None), None)


def _failed(record: TraceRecord) -> bool:
    return record.state.open and not record.sightings


def _ending(key: str, made: list[TraceRecord]) -> int:
    """Say what could not be asked, each cause once; raises where nothing else was found."""
    from fedi_safety.core.errors import ExitCode, TraceError

    causes = list(dict.fromkeys(record.detail for record in made if record.state.open))
    if not causes:
        return ExitCode.DONE
    why = "; ".join(causes)
    raise TraceError(key, f"not traced in full: {why}" if not all(map(_failed, made)) else f"not traced: {why}")
