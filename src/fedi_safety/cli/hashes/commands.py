"""`hashes import|fetch|list|show|set|match|export|drop|verify`: lists of known images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.hashes.fetching import fetch
from fedi_safety.cli.hashes.matching import match
from fedi_safety.cli.hashes.opened import opened_ledger
from fedi_safety.cli.hashes.publishers import leave, publishers, subscribe
from fedi_safety.cli.hashes.publishing import publish, subscribers
from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import Shell, shell, write_json
from fedi_safety.core.errors import ExitCode, KnownUsageError, UsageError
from fedi_safety.core.wording.hints import hint
from fedi_safety.core.wording.nearest import did_you_mean

if TYPE_CHECKING:
    from fedi_safety.core.known.types import HashKind, KnownList
    from fedi_safety.core.ledger.matches import ListHits

commands = typer.Typer(help="Lists of known images: import, show, match, pass on.")

NameArgument = Annotated[str, typer.Argument(metavar="LIST", help="The list's name.")]
EffectOption = Annotated[
    str | None,
    typer.Option("--effect", metavar="EFFECT", help="What the list does: block, review or negative (harmless)."),
]
DistanceOption = Annotated[
    int | None, typer.Option("--distance", min=0, help="Bits of 256 by which a PDQ may differ; 31 unless said.")
]
ShareOption = Annotated[
    float | None, typer.Option("--share", help="Part of a clip's frames that must meet a listed clip; 0.8 unless said.")
]
OriginOption = Annotated[str | None, typer.Option("--origin", metavar="TEXT", help="Who made the list.")]
LicenceOption = Annotated[str | None, typer.Option("--licence", metavar="TEXT", help="On which terms you have it.")]
RedistributeOption = Annotated[
    bool | None,
    typer.Option("--redistribute/--no-redistribute", help="Whether you may pass it on; no unless said."),
]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires", metavar="DATE", help="When it stops matching, or `never`.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what it would change, and change nothing.")]


@commands.callback()
def hashes_commands() -> None:
    """Lists of known images: import, show, match, pass on."""


@commands.command("import")
def import_list(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of hashes; it may be packed with gzip.")],
    name: Annotated[str | None, typer.Option("--name", help="The list's name; left out, the file's.")] = None,
    effect: EffectOption = None,
    file_format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="The file's format; left out, as it looks.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="What hashes are that stand without a kind.")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", help="Only entries of this category; repeatable.")
    ] = None,
    distance: DistanceOption = None,
    share: ShareOption = None,
    origin: OriginOption = None,
    licence: LicenceOption = None,
    redistribute: RedistributeOption = None,
    expires: ExpiresOption = None,
    dry_run: DryRunOption = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Take a file's hashes in as a list, in the place of what was on it, and apply it to what was judged before."""
    from fedi_safety.app.known.lists import find_list, open_catalog, take_in
    from fedi_safety.cli.hashes.words import applied_lines, read_lines
    from fedi_safety.known.formats import read

    sh = shell(config, ledger, log_level, quiet, yes)
    given = effect, distance, share, origin, licence, redistribute, expires
    with opened_ledger(sh) as records, open_catalog(sh.settings) as catalog:
        reading = read(file, file_format, _kind(kind))
        called = name or _name_of(file)
        before = find_list(catalog, called)
        known = _described(before or _new(called), *given)
        taken = take_in(
            sh.settings, records, catalog, known, reading, categories=tuple(category or ()), dry_run=dry_run
        )
    assert taken.imported is not None and taken.applied is not None
    done = taken.imported
    if json_output:
        write_json(
            {
                "list": known.name,
                "effect": known.effect.value,
                "dry_run": dry_run,
                "format": reading.format.name,
                "accepted": done.accepted,
                "added": done.added,
                "replaced": done.replaced,
                "removed": done.removed,
                "refused": {refusal.name.lower(): number for refusal, number in done.refused.items()},
                "unusable": dict(reading.flaws),
                "withdrawn": done.withdrawn,
                "applied": taken.applied.as_json(),
            }
        )
        return 0
    for line in read_lines(reading, taken):
        sh.say(line)
    tense = "would have" if dry_run else "has"
    counted = f"{done.accepted:,} entries: {done.added:,} new, {done.replaced:,} replaced, {done.removed:,} removed"
    sh.say(f"list {known.name} ({known.effect.value}) {tense} {counted}")
    for line in applied_lines(taken.applied, dry_run=dry_run):
        sh.say(line)
    return 0


@commands.command("list")
def list_lists(
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Show the lists: what each does, how much is on it, and how many stored contents met it."""
    from fedi_safety.app.known.lists import open_catalog
    from fedi_safety.cli.hashes.words import counts, day, list_json, terms

    sh = shell(config, ledger, log_level, quiet, yes)
    with open_catalog(sh.settings) as catalog:
        found = catalog.statistics()
    hits = _hits(sh)
    if json_output:
        write_json({"lists": [list_json(each, hits.get(each.list.name)) for each in found]})
        return 0
    for each in found:
        entries = counts({kind.value: number for kind, number in each.entries.items()})
        sh.say(f"{each.list.name}: {terms(each.list)}; {entries}; of {day(each.changed_s)}{_met(hits, each.list)}")
    if not found:
        sh.say(f"there is no list; {hint('hashes import FILE')} takes one in")
    return 0


@commands.command()
def show(
    name: NameArgument,
    entries: Annotated[int, typer.Option("--entries", min=0, help="How many entries to print.")] = 0,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Show one list: its terms, its entries by kind, and what came of it here."""
    from itertools import islice

    from fedi_safety.app.known.lists import find_list, open_catalog
    from fedi_safety.cli.hashes.words import counts, day, list_json, terms

    sh = shell(config, ledger, log_level, quiet, yes)
    with open_catalog(sh.settings) as catalog:
        if find_list(catalog, name) is None:
            raise _no_list(name)
        some = list(islice(catalog.entries(name), entries))
        each = next(found for found in catalog.statistics() if found.list.name == name)
    hits = _hits(sh)
    if json_output:
        rows = [
            {"kind": entry.kind.value, "hash": entry.hash.hex(), "id": entry.id, "category": entry.category}
            for entry in some
        ]
        write_json(list_json(each, hits.get(name)) | ({"some_entries": rows} if entries else {}))
        return 0
    sh.say(f"{name}: {terms(each.list)}")
    sh.say(f"entries: {counts({kind.value: number for kind, number in each.entries.items()})}")
    if each.exact_only:
        sh.say(f"of drawings or with little to see, and met by themselves alone: {each.exact_only:,}")
    if each.expired:
        sh.say(f"expired: {each.expired:,}")
    sh.say(f"changed on {day(each.changed_s)}{_met(hits, each.list)}")
    for entry in some:
        told = " ".join(filter(None, (entry.id, entry.category, entry.clip and f"of the clip {entry.clip}")))
        sh.say(f"  {entry.kind.value} {entry.hash.hex()} {told}".rstrip())
    return 0


@commands.command("set")
def set_list(
    name: NameArgument,
    effect: EffectOption = None,
    distance: DistanceOption = None,
    share: ShareOption = None,
    origin: OriginOption = None,
    licence: LicenceOption = None,
    redistribute: RedistributeOption = None,
    expires: ExpiresOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Change what a list does and says of itself, and apply that to what was judged before."""
    from fedi_safety.app.known.lists import describe, find_list, open_catalog
    from fedi_safety.cli.hashes.words import applied_lines, terms

    sh = shell(config, ledger, log_level, quiet, yes)
    with opened_ledger(sh) as records, open_catalog(sh.settings) as catalog:
        before = find_list(catalog, name)
        if before is None:
            raise _no_list(name)
        known = _described(before, effect, distance, share, origin, licence, redistribute, expires)
        applied = describe(sh.settings, records, catalog, known)
    sh.say(f"{name}: {terms(known)}")
    for line in applied_lines(applied, dry_run=False):
        sh.say(line)
    return 0


commands.command()(fetch)
commands.command()(match)
commands.command()(publish)
commands.command()(subscribers)
commands.command()(subscribe)
commands.command("publishers")(publishers)
commands.command()(leave)


@commands.command()
def export(
    name: NameArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where it is written.")],
    file_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="text, csv, vpdq, piefed or pixelfed.")
    ] = "text",
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Write a list for others. One that you may not pass on is written in no format."""
    from fedi_safety.app.known.lists import find_list, open_catalog
    from fedi_safety.cli.hashes.words import counts
    from fedi_safety.cli.output_file import checked_place, write_page
    from fedi_safety.known.formats.writing import Writing

    sh = shell(config, ledger, log_level, quiet, yes)
    with open_catalog(sh.settings) as catalog:
        known = find_list(catalog, name)
        if known is None:
            raise _no_list(name)
        writing = Writing(known, catalog.entries(name), file_format)
        write_page(checked_place(file, "FILE", f"{name}.{file_format}"), writing, "FILE")
    left = f"; left out: {counts(writing.left_out)}" if writing.left_out else ""
    sh.say(f"{file}: {writing.written:,} entries as {file_format}{left}")
    return 0


@commands.command()
def drop(
    name: NameArgument,
    dry_run: DryRunOption = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Let a list go, and decide anew what was judged by it."""
    from fedi_safety.app.known.lists import drop as dropped
    from fedi_safety.app.known.lists import find_list, open_catalog
    from fedi_safety.cli.hashes.words import applied_lines

    sh = shell(config, ledger, log_level, quiet, yes)
    with opened_ledger(sh) as records, open_catalog(sh.settings) as catalog:
        if find_list(catalog, name) is None:
            raise _no_list(name)
        if not dry_run:
            sh.confirm(f"list {name} will be removed with all of its entries", "give --yes")
        applied = dropped(sh.settings, records, catalog, name, dry_run=dry_run)
    if json_output:
        write_json({"list": name, "dry_run": dry_run, "applied": applied.as_json()})
        return 0
    sh.say(f"list {name} {'would be' if dry_run else 'is'} gone")
    for line in applied_lines(applied, dry_run=dry_run):
        sh.say(line)
    return 0


@commands.command()
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Make the index anew where it is damaged.")] = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Read all lists and their index, and say what is damaged."""
    from fedi_safety.app.known.lists import missing, open_catalog

    sh = shell(config, ledger, log_level, quiet, yes)
    gone = missing(sh.settings)
    if gone is not None and not repair:
        raise gone
    with open_catalog(sh.settings) as catalog:
        if gone is not None:
            catalog.begin()
            sh.note(f"begun without any list; {hint('hashes match')} decides anew what met some")
        wrong = catalog.verify(repair=repair)
        entries = sum(sum(each.entries.values()) for each in catalog.statistics()) if not wrong else 0
    for error in wrong:
        sh.warn(error.line())
    if wrong:
        return ExitCode.OUTSIDE
    sh.say(f"the lists and their index are whole: {entries:,} entries")
    return 0


def _hits(sh: Shell) -> dict[str, ListHits]:
    """Return what the ledger counts by list; nothing where there is no ledger yet."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.config.locations import expanded, ledger_path

    file = ledger_path(sh.settings).removeprefix("sqlite:///")
    if "://" not in file and not expanded(file).exists():
        return {}
    records = open_settings_ledger(sh.settings, readonly=True)
    try:
        return dict(records.hits_by_list())
    finally:
        records.dispose()


def _met(hits: dict[str, ListHits], known: KnownList) -> str:
    of_list = hits.get(known.name)
    if of_list is None:
        return "; no hit"
    from fedi_safety.cli.hashes.words import number_of, turned_line

    met = f"; {number_of(of_list.contents, 'hit')}, {of_list.confirmed:,} confirmed, {of_list.dismissed:,} dismissed"
    return f"{met}; {said}" if (said := turned_line(known, of_list)) else met


def _no_list(name: str) -> KnownUsageError:
    return KnownUsageError(name, "there is no such list", f"{hint('hashes list')} names those there are")


def _name_of(file: Path) -> str:
    """Return a file's name without its endings, as a list's name."""
    name = file.name.removesuffix(".gz")
    return name.rsplit(".", 1)[0] or name


def _new(name: str) -> KnownList:
    from fedi_safety.core.known.types import KnownList

    return KnownList(name)


def _kind(named: str | None) -> HashKind | None:
    from fedi_safety.core.known.types import EXCHANGED, HashKind

    if named is None:
        return None
    if named not in EXCHANGED:
        raise UsageError(
            f"--kind {named}", "there is no such kind", f"one of {', '.join(EXCHANGED)}{did_you_mean(named, EXCHANGED)}"
        )
    return HashKind(named)


def _described(
    known: KnownList,
    effect: str | None,
    distance: int | None,
    share: float | None,
    origin: str | None,
    licence: str | None,
    redistribute: bool | None,
    expires: str | None,
) -> KnownList:
    """Return a list with what was said of it; the rest stays."""
    from fedi_safety.core.known.types import Effect

    said: dict[str, Any] = {"distance": distance, "share": share, "origin": origin, "licence": licence}
    said["redistribute"] = redistribute
    if effect is not None:
        if effect not in set(Effect):
            raise UsageError(
                f"--effect {effect}",
                "there is no such effect",
                f"one of {', '.join(Effect)}{did_you_mean(effect, Effect)}",
            )
        said["effect"] = Effect(effect)
    known = replace(known, **{name: value for name, value in said.items() if value is not None})
    return known if expires is None else replace(known, expires_s=_expiry(expires))


def _expiry(said: str) -> float | None:
    from fedi_safety.known.formats.hashes import time_of

    if said == "never":
        return None
    at_s = time_of(said)
    if at_s is None:
        raise UsageError(f"--expires {said}", "is no date", "write one such as 2028-01-31, or `never`")
    return at_s
