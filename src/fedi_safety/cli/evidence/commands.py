"""`evidence`: a folder about one content, or about all of a run, without the picture; and `evidence submit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell
from fedi_safety.core.enums import IncidentType
from fedi_safety.core.errors import UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fedi_safety.cli.shell import Shell
    from fedi_safety.core.ledger.ports import LedgerReader
    from fedi_safety.reports.evidence.facts import Draft

_SUBMIT = "submit"
_SENDING = "With `submit`"


def evidence(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY|submit KEY", help="An object's key, its path, or a SHA-256.", show_default=False),
    ] = None,
    run: Annotated[int | None, typer.Option("--run", metavar="N", help="All that a run condemned or removed.")] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="The folder that is made; not there yet, or empty.")
    ] = None,
    production: Annotated[
        bool,
        typer.Option(
            "--production", help="File it in earnest; the configuration must say so, too.", rich_help_panel=_SENDING
        ),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Although it was reported before.", rich_help_panel=_SENDING)
    ] = False,
    incident: Annotated[
        IncidentType, typer.Option("--incident", help="What the report is about.", rich_help_panel=_SENDING)
    ] = IncidentType.CSAM,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Write a folder for an authority: what, when, where and who, hashes, and drafts. The picture is never in it.

    `evidence submit KEY` sends one report to NCMEC: to its test environment, unless configuration and command say
    production. It never sends a file.
    """
    sh = shell(config, ledger, log_level, quiet, yes)
    given = words or []
    if given[:1] == [_SUBMIT] and len(given) == 2:
        if out is not None or run is not None:
            raise UsageError("evidence submit", "it writes no folder, and takes one KEY", "leave --out and --run away")
        from fedi_safety.cli.evidence.submitting import submit

        return submit(sh, given[1], incident, production=production, again=again)
    if production or again or incident is not IncidentType.CSAM:
        cause = "--production, --again and --incident are for submit"
        raise UsageError("evidence", cause, "write: evidence submit KEY")
    if len(given) > 1:
        raise UsageError(" ".join(given), "that is more than one KEY", "give one, or --run N")
    if (not given) == (run is None):
        raise UsageError("evidence", "it takes either a KEY or --run N", "give one of the two")
    if out is None:
        raise UsageError("evidence", "there is no --out", "name the folder that is made: --out DIR")
    return _write(sh, given[0] if given else None, run, out)


def _write(sh: Shell, key: str | None, run: int | None, out: str) -> int:
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.evidence.folder import checked_folder

    records = open_settings_ledger(sh.settings, readonly=True)
    try:
        place = checked_folder(out, _roots(sh, records))
        files, lacking = _one(sh, records, key, out, place) if key is not None else _all(sh, records, run, out, place)
    finally:
        records.dispose()
    sh.say(f"{printable(str(place))}: {files} files, for you alone; the picture is in none of them")
    for what, names in lacking.items():
        sh.say(f"  lacking {what}: {', '.join(names)}")
    return 0


def _lacking(written: Iterable[Draft]) -> dict[str, dict[str, None]]:
    """Return what drafts must have and have not, with the names of the drafts, each once."""
    from fedi_safety.reports.evidence.cybertip import FILE_DETAILS

    found: dict[str, dict[str, None]] = {}
    for draft in written:
        for what in draft.missing if draft.name != FILE_DETAILS else ():  # which nobody can complete here
            found.setdefault(what, {})[draft.name] = None
    return found


def _one(sh: Shell, records: LedgerReader, key: str, out: str, place: Path) -> tuple[int, dict[str, dict[str, None]]]:
    from fedi_safety.cli.evidence.folder import whole_folder
    from fedi_safety.cli.evidence.gathering import content_of, gathered
    from fedi_safety.reports.evidence.pack import drafts, pack

    found = gathered(sh.settings, records, content_of(records, key), key)
    if found.shown.dismissal is not None:
        sh.warn(f"{key}: a person dismissed it, so that there are no drafts: it was judged wrongly")
    written = drafts(found)
    with whole_folder(out, place) as folder:
        for name, text in pack(found, written).items():
            folder.write(name, text)
    return folder.files, _lacking(written)


def _all(
    sh: Shell, records: LedgerReader, run: int | None, out: str, place: Path
) -> tuple[int, dict[str, dict[str, None]]]:
    """Write a folder for each content of a run, and a list of them."""
    import time

    from fedi_safety.cli.evidence.folder import whole_folder
    from fedi_safety.cli.evidence.gathering import gathered
    from fedi_safety.core.wording.hints import hint
    from fedi_safety.reports.evidence.pack import drafts, pack
    from fedi_safety.reports.evidence.page import Listed, listing, listing_html, listing_text

    contents = None if run is None else records.contents_of_run(run)
    if run is None or not contents:
        cause = "there is no such run" if contents is None else "it condemned nothing, and removed nothing"
        raise UsageError(f"--run {run}", cause, f"{hint('report')} names the last runs")
    lacking: dict[str, dict[str, None]] = {}
    rows: list[Listed] = []
    with whole_folder(out, place) as folder:
        for sha256 in contents:
            found = gathered(sh.settings, records, sha256, sha256.hex())
            written = drafts(found)
            for name, text in pack(found, written).items():
                folder.write(name, text, below=sha256.hex())
            for what, names in _lacking(written).items():
                lacking.setdefault(what, {}).update(names)
            rows.append(Listed.of(found))
        parts = listing(run, rows, time.time())
        folder.write("index.html", listing_html(run, parts))
        folder.write("index.txt", listing_text(run, parts))
    return folder.files, lacking


def _roots(sh: Shell, records: LedgerReader) -> list[Path]:
    """Return the directories of this machine that are stores, configured ones and those that were ever scanned."""
    from pathlib import Path

    from fedi_safety.app.sealing import scanned_urls
    from fedi_safety.stores import local_root

    found = (local_root(url) for url in (*scanned_urls(sh.settings), *records.store_urls()))
    return [Path(root).resolve() for root in found if root is not None]
