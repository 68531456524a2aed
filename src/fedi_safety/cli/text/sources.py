"""Where condemned contents came from: `list --by` as lines and as JSON, and the domain policy that it writes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedi_safety.cli.shell import Shell, write_json
from fedi_safety.core.errors import UsageError
from fedi_safety.core.sightings import SourceKind
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedi_safety.core.enums import PolicyServer
    from fedi_safety.core.ledger.ports import LedgerReader
    from fedi_safety.core.sightings import Source
    from fedi_safety.reports.domain_policy import Suggestion


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What somebody asked for by `--domain-policy`, checked: for which server, into which file, and what is enough."""

    server: PolicyServer
    place: Path
    least_contents: int
    least_share: float


def policy_file(
    sh: Shell,
    by: SourceKind | None,
    server: PolicyServer | None,
    output: str | None,
    least_contents: int | None,
    least_share: float | None,
) -> PolicyFile | None:
    """Return what is to be written, None where no policy is asked for. Raises `UsageError`; asks before it replaces."""
    from fedi_safety.cli.output_file import checked_place
    from fedi_safety.reports.domain_policy import LEAST_CONTENTS, LEAST_SHARE

    if server is None:
        asked = {"--output": output, "--least-contents": least_contents, "--least-share": least_share}
        for name, value in asked.items():
            if value is not None:
                raise UsageError(f"{name} {value}", "it is for a domain policy", "give --domain-policy as well")
        return None
    if by is not SourceKind.INSTANCE:
        raise UsageError(f"--domain-policy {server}", "it names instances", "give --by instance as well")
    if output is None:
        raise UsageError(f"--domain-policy {server}", "there is no file for it", "name one with --output")
    place = checked_place(output, "--output", "blocks.csv")
    if place.exists():
        sh.confirm(f"--output {output}: it exists and would be replaced", "name another file, or give --yes")
    return PolicyFile(
        server,
        place,
        LEAST_CONTENTS if least_contents is None else least_contents,
        LEAST_SHARE if least_share is None else least_share,
    )


def list_sources(
    sh: Shell,
    records: LedgerReader,
    by: SourceKind,
    store: str | None,
    *,
    limit: int | None,
    json_output: bool,
    policy: PolicyFile | None,
) -> None:
    """Print where condemned contents came from, most first; with `policy` what of it the file names, and write that."""
    found: Sequence[Source] = records.sources(by, store, sure=policy is not None, limit=None if policy else limit)
    suggestion = None
    if policy is not None:
        suggestion = _suggestion(sh, policy, found, limit)
        found = suggestion.sources
    if json_output:
        for source in found:
            write_json(source_json(by, source))
    elif found:
        sys.stdout.writelines(f"{line}\n" for line in _lines(by, found))
    elif suggestion is None:
        sh.note(_nothing(sh, by))
    if policy is not None and suggestion is not None:
        _write(sh, policy, suggestion)


def source_json(by: SourceKind, source: Source) -> dict[str, Any]:
    """Return where condemned contents came from: how many of how many traced ones, and the interval at 95 %."""
    from fedi_safety.cli.text.lookup import iso_time
    from fedi_safety.reports.facts import wilson

    low, high = wilson(source.contents, source.of)
    return {
        by.value: source.name,
        "local": source.local,
        "condemned": source.contents,
        "of": source.of,
        "low": low,
        "high": high,
        "last_traced": iso_time(source.last_at),
    }


def _lines(by: SourceKind, found: Sequence[Source]) -> list[str]:
    """Return a table. Names come last: they may be long, and of letters of any width."""
    from fedi_safety.reports.facts import source_cells

    rows = [("condemned", "share at 95 %", "last traced", "from", by.value), *map(source_cells, found)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for count, share, last, where, name in rows:
        cells = (count.rjust(widths[0]), share.rjust(widths[1]), last.ljust(widths[2]), where.ljust(widths[3]))
        lines.append("  ".join((*cells, name)))
    return lines


def _nothing(sh: Shell, by: SourceKind) -> str:
    said = f"nothing that is condemned was traced to {'an' if by is SourceKind.INSTANCE else 'a'} {by.value} yet"
    if sh.settings.trace.server is None:
        return f"{said}: no server is configured (`trace.server`; docs/trace.md)"
    return f"{said}; {hint('show KEY')} says what was found of one object, and why not more"


def _suggestion(sh: Shell, policy: PolicyFile, found: Sequence[Source], limit: int | None) -> Suggestion:
    from urllib.parse import urlsplit

    from fedi_safety.reports.domain_policy import suggested
    from fedi_safety.tracing.addresses import read_address

    address = read_address(sh.settings.trace.url)
    own = None if address is None else urlsplit(address.root).hostname
    suggestion = suggested(found, own, least_contents=policy.least_contents, least_share=policy.least_share)
    if limit is not None and len(suggestion.sources) > limit:
        suggestion.left_out["beyond --limit"] = len(suggestion.sources) - limit
        suggestion = replace(suggestion, sources=suggestion.sources[:limit])
    return suggestion


def _write(sh: Shell, policy: PolicyFile, suggestion: Suggestion) -> None:
    from fedi_safety.cli.output_file import write_page
    from fedi_safety.reports.domain_policy import effect, render

    write_page(policy.place, render(policy.server, suggestion), "--output")
    count = len(suggestion.sources)
    instances = f"{count:,} instance{'' if count == 1 else 's'}"
    then = f" Where it is imported, {effect(policy.server)}; nothing is blocked by itself." if count else ""
    sh.note(f"wrote {policy.place}: {instances} for {policy.server.value}.{then}")
    if suggestion.left_out:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in suggestion.left_out.most_common())
        sh.note(f"left out: {reasons}")
