"""`hashes subscribe|publishers|leave`: whom this instance believes a little, and how they stand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.hashes.opened import opened_ledger
from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import Shell, shell, write_json
from fedi_safety.core.errors import UsageError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedi_safety.app.sharing.subscribing import Brought, Standing

_MOST_TOKEN = 4096
_MOST_NAMED = 20


def subscribe(
    url: Annotated[str, typer.Argument(metavar="URL", help="The address of the publisher's gate.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key of its list, as the publisher told it.")],
    token_file: Annotated[
        str | None,
        typer.Option("--token-file", metavar="FILE", help="A file with the token; left out, it is asked for."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="NAME", help="Publishers of one group count as one; left out, its own."),
    ] = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Read another instance's list, and believe it as far as others agree."""
    from fedi_safety.app.known.lists import open_catalog
    from fedi_safety.app.sharing.subscribing import subscribe as subscribed

    sh = shell(config, ledger, log_level, quiet, yes)
    token = _token(sh, token_file)
    with opened_ledger(sh) as records, open_catalog(sh.settings) as catalog:
        brought = subscribed(sh.settings, records, catalog, url, key, token, group=group)
        catalog.merge()
    if json_output:
        write_json(brought_json(brought))
        return 0
    for line in brought_lines(brought):
        sh.say(line)
    sh.note(f"{hint('hashes fetch {}', brought.publisher.name)} reads on; have a timer do that every hour")
    return 0


def publishers(
    name: Annotated[str | None, typer.Argument(metavar="PUBLISHER", help="One of them; left out, all.")] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="NAME", help="Put the publisher into another group.")
    ] = None,
    release: Annotated[
        str | None, typer.Option("--release", metavar="ENTRY", help="You had a look: let an entry count that is held.")
    ] = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Show whom this instance subscribes to: how each stands, what waits and what is held, and why."""
    from fedi_safety.app.known.lists import open_catalog
    from fedi_safety.app.sharing.subscribing import open_publishers, settled, standings

    sh = shell(config, ledger, log_level, quiet, yes)
    if (group is not None or release is not None) and name is None:
        raise UsageError("hashes publishers", "--group and --release are about one publisher", "name it")
    those = open_publishers(sh.settings)
    if name is not None:
        those.get(name)
        if group is not None:
            those.set_group(name, group)
        if release is not None:
            those.release(name, release)
        if group is not None or release is not None:
            with opened_ledger(sh) as records, open_catalog(sh.settings) as catalog:
                settled(sh.settings, records, catalog, name)
    found = [each for each in standings(sh.settings) if name in (None, each.publisher.name)]
    if json_output:
        write_json({"publishers": [_standing_json(each) for each in found]})
        return 0
    for each in found:
        for line in _standing_lines(each, held=name is not None):
            sh.say(line)
    if not found:
        sh.say(f"there is no publisher; {hint('hashes subscribe URL KEY')} subscribes to one")
    return 0


def leave(
    name: Annotated[str, typer.Argument(metavar="PUBLISHER", help="The publisher's name.")],
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Believe a publisher no more, and decide anew what its entries led to."""
    from fedi_safety.app.known.lists import open_catalog
    from fedi_safety.app.sharing.subscribing import leave as left
    from fedi_safety.app.sharing.subscribing import open_publishers
    from fedi_safety.cli.hashes.words import applied_lines, number_of

    sh = shell(config, ledger, log_level, quiet, yes)
    open_publishers(sh.settings).get(name)
    sh.confirm(f"the entries of {name} will be forgotten", "give --yes")
    with opened_ledger(sh) as records, open_catalog(sh.settings) as catalog:
        entries, applied = left(sh.settings, records, catalog, name)
    if json_output:
        write_json({"publisher": name, "entries": entries, "applied": applied.as_json()})
        return 0
    sh.say(f"{name} is left, with {number_of(entries, 'entry', 'entries')}")
    for line in applied_lines(applied, dry_run=False):
        sh.say(line)
    return 0


def _token(sh: Shell, file: str | None) -> str:
    """Return the token, from a file or a person; it is never an argument, which other users of a machine see."""
    if file is None:
        if not sys.stdin.isatty():
            raise UsageError("hashes subscribe", "there is no token", "give --token-file, or call it on a terminal")
        token = sh.typed("token (it is not shown):", secret=True).strip()
    else:
        from fedi_safety.config.locations import expanded

        try:
            with expanded(file).open("rb") as opened:
                token = opened.read(_MOST_TOKEN).decode("ascii").strip()
        except OSError as error:
            raise UsageError(
                f"--token-file {file}", (error.strerror or str(error)).lower(), "name a readable file"
            ) from None
        except UnicodeDecodeError:
            raise UsageError(f"--token-file {file}", "is no text", "put the token alone into it") from None
    if not token.isprintable() or not token or " " in token:
        raise UsageError("the token", "is empty, or is not one word", "copy it anew from the publisher")
    return token


def brought_lines(brought: Brought) -> Iterator[str]:
    """Yield what came of a publisher."""
    from fedi_safety.cli.hashes.words import applied_lines, day, number_of

    name, read = brought.publisher.name, brought.read
    yield (
        f"{name}: {read.added:,} new, {read.renewed:,} renewed, {read.retracted:,} retracted; "
        f"{number_of(brought.in_force, 'entry', 'entries')} in force, of which {brought.waits:,} wait; "
        f"its head holds until {day(brought.publisher.expires)}"
    )
    for each in brought.held[:_MOST_NAMED]:
        yield f"held: {each.entry}: {each.why}"
    if brought.held:
        yield f"{len(brought.held):,} held now; {hint('hashes publishers {}', name)} shows all of them"
    if brought.applied is not None:
        yield from applied_lines(brought.applied, dry_run=False)


def brought_json(brought: Brought) -> dict[str, Any]:
    """Return the same for programs."""
    return {
        "publisher": brought.publisher.name,
        "added": brought.read.added,
        "renewed": brought.read.renewed,
        "retracted": brought.read.retracted,
        "in_force": brought.in_force,
        "waiting": brought.waits,
        "held": [{"entry": each.entry, "why": each.why} for each in brought.held],
        "applied": None if brought.applied is None else brought.applied.as_json(),
    }


def _standing_lines(each: Standing, *, held: bool) -> Iterator[str]:
    from fedi_safety.cli.hashes.words import day, number_of

    publisher = each.publisher
    asked = "never" if publisher.fetched_s is None else f"on {day(publisher.fetched_s)}"
    yield (
        f"{publisher.name} (group {publisher.group}): {number_of(each.in_force, 'entry', 'entries')} in force, "
        f"{each.waits:,} of them wait, {len(each.held):,} held; read {asked}"
    )
    yield f"  {publisher.url}; key {publisher.key}; change {publisher.seq:,}, link {publisher.link[:16]}"
    if publisher.failure:
        yield f"  the last time it was refused, and stayed as it was: {publisher.failure}"
    for entry in each.held if held else ():
        yield f"  held: {entry.id}, {entry.kind} {entry.hash[:16]}...: {entry.held}"
    if each.held and not held:
        yield f"  {hint('hashes publishers {}', publisher.name)} says why some are held"


def _standing_json(each: Standing) -> dict[str, Any]:
    from fedi_safety.cli.hashes.words import iso

    publisher = each.publisher
    return {
        "name": publisher.name,
        "url": publisher.url,
        "group": publisher.group,
        "key": publisher.key,
        "seq": publisher.seq,
        "link": publisher.link,
        "expires": iso(publisher.expires),
        "fetched": None if publisher.fetched_s is None else iso(publisher.fetched_s),
        "failure": publisher.failure,
        "in_force": each.in_force,
        "waiting": each.waits,
        "held": [{"entry": e.id, "kind": e.kind, "hash": e.hash, "why": e.held} for e in each.held],
    }
