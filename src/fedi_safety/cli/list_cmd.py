"""`list`: what the ledger knows, object by object; `cli/text/sources.py` has its other side, where that came from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell, write_json
from fedi_safety.core.enums import SKIPPED, PlanState, PolicyServer, Reason, Verdict
from fedi_safety.core.errors import UsageError, printable
from fedi_safety.core.sightings import SourceKind
from fedi_safety.core.wording.nearest import did_you_mean

if TYPE_CHECKING:
    from fedi_safety.core.ledger.rows import Row


def list_objects(
    store: Annotated[
        str | None,
        typer.Argument(metavar="STORE", help="Only this store: a path, a URL or a configured name; left out, all."),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="STATE", help="judged, unscanned, skipped, removed, gone or history."),
    ] = None,
    verdict: Annotated[Verdict | None, typer.Option("--verdict", help="Only this verdict.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Only with this label, such as nsfw.")] = None,
    unscanned: Annotated[
        Reason | None, typer.Option("--unscanned", metavar="REASON", help="Only unscanned for this reason.")
    ] = None,
    skipped: Annotated[
        Reason | None,
        typer.Option(
            "--skipped", metavar="REASON", help=f"Only skipped for this reason: {', '.join(sorted(SKIPPED))}."
        ),
    ] = None,
    partly: Annotated[bool, typer.Option("--partly", help="Only what could be judged in part only.")] = False,
    act: Annotated[PlanState | None, typer.Option("--act", help="Only with the latest plan in this state.")] = None,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="Instead of objects: the sealed copies that are kept, and until when.")
    ] = False,
    prefix: Annotated[
        str | None, typer.Option("--prefix", metavar="KEY", help="Only keys that begin like this.")
    ] = None,
    by: Annotated[
        SourceKind | None,
        typer.Option("--by", help="Instead of objects: where condemned contents came from, as far as they are traced."),
    ] = None,
    domain_policy: Annotated[
        PolicyServer | None,
        typer.Option("--domain-policy", help="With --by instance: write a domain policy that this server can import."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="FILE", help="Where the domain policy goes.")
    ] = None,
    least_contents: Annotated[
        int | None,
        typer.Option("--least-contents", min=1, help="Name instances from which so many contents came; 5."),
    ] = None,
    least_share: Annotated[
        float | None,
        typer.Option("--least-share", min=0, max=1, help="... and, at 95 %, so large a share of all; 0.05."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="7d|DATE", help="Only what stands so since then: 12h, 7d, or a date."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="No more than this many.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """List objects with times, verdicts, reasons and actions: time, key, verdict, reasons, store, with tabs between."""
    from fedi_safety.app.ledger import open_settings_ledger, open_settings_objects
    from fedi_safety.cli.text.lookup import iso_time, known_store, row_json
    from fedi_safety.core.ledger.rows import STATES, Filters
    from fedi_safety.core.wording.reasons import reason_text

    sh = shell(config, ledger, log_level, quiet, yes)
    if state is not None and state not in STATES:
        remedy = f"use {', '.join(STATES[:-1])} or {STATES[-1]}{did_you_mean(state, STATES)}"
        raise UsageError(f"--state {state}", "no such state", remedy)
    reason = _reason(unscanned, skipped)
    moment = None
    if since is not None:
        from fedi_safety.cli.scan_cmd import parse_since

        moment = parse_since(since)
    policy = None
    if (by, domain_policy, output, least_contents, least_share) != (None,) * 5:
        from fedi_safety.cli.text.sources import list_sources, policy_file

        policy = policy_file(sh, by, domain_policy, output, least_contents, least_share)
    whole = open_settings_ledger(sh.settings, readonly=True) if sealed or by is not None else None
    records = whole or open_settings_objects(sh.settings)
    try:
        url = known_store(sh.settings, records, store)
        filters = Filters(
            store=url,
            state=state,
            verdict=verdict,
            label=label,
            reason=reason,
            plan_state=act,
            prefix=prefix,
            partly=partly,
            since=moment,
        )
        if whole is not None and sealed:
            if by is not None or filters != Filters(store=url, prefix=prefix):
                raise UsageError("--sealed", "it lists copies", "leave all but STORE, --prefix, --limit and --json out")
            from fedi_safety.cli.sealed.copies import list_copies

            list_copies(whole, url, prefix, limit, json_output=json_output)
            return 0
        if whole is not None and by is not None:
            if filters != Filters(store=url):
                raise UsageError(f"--by {by}", "it counts all that is condemned", "leave the other filters out")
            list_sources(sh, whole, by, url, limit=limit, json_output=json_output, policy=policy)
            return 0
        for row in records.list_objects(filters, limit):
            if json_output:
                write_json(row_json(row))
                continue
            reasons = [reason_text(hit) for hit in row.reasons]
            why = "; ".join([*reasons, *([f"judged in part: {row.partly}"] if row.partly else [])]) or row.detail
            when = "-" if row.at is None else iso_time(row.at)
            cells = (when, row.key, _said(row), why, row.store)
            sys.stdout.write("\t".join(map(printable, cells)) + "\n")
    finally:
        records.dispose()
    return 0


def _reason(unscanned: Reason | None, skipped: Reason | None) -> Reason | None:
    """Return the reason that is asked for. Raises `UsageError` for one that stands on the other side."""
    if unscanned is not None and skipped is not None:
        raise UsageError("--unscanned and --skipped", "no object is both", "give one of them")
    if unscanned is not None and unscanned.skipped:
        raise UsageError(f"--unscanned {unscanned}", "that is no media, and skipped", f"give --skipped {unscanned}")
    if skipped is not None and not skipped.skipped:
        raise UsageError(f"--skipped {skipped}", "that is media, and unscanned", f"give --unscanned {skipped}")
    return unscanned or skipped


def _said(row: Row) -> str:
    """Return verdict or reason, labels, and what became of the plan, in words."""
    reason = row.unscanned or row.skipped
    first = [row.verdict.value] if row.verdict else [f"{row.state} ({reason})"] if reason else []
    parts = [*first, *(f"[{label}]" for label in row.labels)]
    if row.state not in ("judged", "unscanned", "skipped"):
        parts.append(row.state)
    elif row.act_state is not None and row.act is not None:
        parts.append(f"{row.act.value} {row.act_state.value}")
    return " ".join(parts)
