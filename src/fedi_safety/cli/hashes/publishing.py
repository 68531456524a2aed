"""`hashes publish|subscribers`: this instance's own list, and who may have it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.hashes.opened import opened_ledger
from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import Shell, shell, write_json
from fedi_safety.core.errors import UsageError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.app.sharing.publishing import Publication
    from fedi_safety.sharing.log import LogState
    from fedi_safety.sharing.subscribers import Subscriber


def publish(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be published, and publish nothing.")
    ] = False,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Change the key; subscribers take the new one by the old one's word.")
    ] = False,
    new_log: Annotated[
        bool, typer.Option("--new-log", help="Begin anew, with another key: subscribers have to subscribe anew.")
    ] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Publish what was removed here and confirmed, for subscribers of this instance. Nothing is sent to anybody."""
    from fedi_safety.app.sharing.publishing import begun, open_log
    from fedi_safety.app.sharing.publishing import publish as published

    sh = shell(config, ledger, log_level, quiet, yes)
    if sum((dry_run, new_key, new_log)) > 1:
        raise UsageError("hashes publish", "--dry-run, --new-key and --new-log exclude each other", "give one of them")
    log = open_log(sh.settings)
    if new_log and log.state() is not None:
        sh.confirm("subscribers will refuse the new list until they subscribe to it with its new key", "give --yes")
        sh.note(f"the list that was published is kept in {log.set_aside()}")
    if new_key:
        begun(sh.settings, log)
        log.change_key()
        sh.note("the old key signed that; subscribers take the new one at their next fetch")
    with opened_ledger(sh) as records:
        done = published(sh.settings, records, dry_run=dry_run)
    if json_output:
        write_json(_json(done, dry_run))
        return 0
    _say(sh, done, dry_run)
    return 0


def subscribers(
    add: Annotated[str | None, typer.Option("--add", metavar="NAME", help="Make a token for a subscriber.")] = None,
    revoke: Annotated[
        str | None, typer.Option("--revoke", metavar="NAME", help="Let nobody in by this subscriber's token any more.")
    ] = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Show who may have this instance's list; give a token, or take one back."""
    from fedi_safety.app.sharing.publishing import begun, open_log
    from fedi_safety.config.locations import sharing_folder
    from fedi_safety.sharing.subscribers import Subscribers

    sh = shell(config, ledger, log_level, quiet, yes)
    if add is not None and revoke is not None:
        raise UsageError("hashes subscribers", "--add and --revoke exclude each other", "give one of them")
    those = Subscribers(sharing_folder(sh.settings), now=time.time)
    if add is not None:
        state = begun(sh.settings, open_log(sh.settings))
        token = those.add(add)
        if json_output:
            write_json({"subscriber": add, "token": token, "key": state.key, "name": state.name})
            return 0
        sh.say(f"token of {add}, shown this once: {token}")
        sh.say(f"key of {state.name}: {state.key}")
        sh.note("send both over a channel that others do not read, with the URL of this gate")
        return 0
    if revoke is not None:
        those.revoke(revoke)
        sh.say(f"{revoke}: the token lets nobody in any more")
        return 0
    found = those.all()
    if json_output:
        write_json({"subscribers": [_subscriber_json(each) for each in found]})
        return 0
    for each in found:
        sh.say(_subscriber_line(each))
    if not found:
        sh.say(f"there is no subscriber; {hint('hashes subscribers --add NAME')} makes a token for one")
    return 0


def _say(sh: Shell, done: Publication, dry_run: bool) -> None:
    from fedi_safety.cli.hashes.words import counts, day, number_of

    tense = "would have" if dry_run else "has"
    sh.say(
        f"list {done.log.name} {tense} {number_of(done.done.entries, 'entry', 'entries')}: {done.done.added:,} new, "
        f"{done.done.renewed:,} renewed, {done.done.retracted:,} retracted"
    )
    if done.contents:
        sh.say(f"contents by word: {counts(done.contents)}")
    for cause, number in sorted(done.left_out.items()):
        sh.say(f"left out: {number_of(number, 'content')}: {cause}")
    if not dry_run:
        sh.say(f"change {done.log.seq:,}, link {done.log.link[:16]}; signed until {day(done.log.expires)}")
        sh.say(f"key: {done.log.key}")


def _json(done: Publication, dry_run: bool) -> dict[str, object]:
    from fedi_safety.cli.hashes.words import iso

    state: LogState = done.log
    return {
        "name": state.name,
        "dry_run": dry_run,
        "entries": done.done.entries,
        "added": done.done.added,
        "renewed": done.done.renewed,
        "retracted": done.done.retracted,
        "contents": dict(done.contents),
        "left_out": dict(done.left_out),
        "seq": state.seq,
        "link": state.link,
        "key": state.key,
        "expires": iso(state.expires),
    }


def _subscriber_line(each: Subscriber) -> str:
    from fedi_safety.cli.hashes.words import day, number_of

    asked = "never asked" if each.asked_s is None else f"last asked on {day(each.asked_s)}"
    revoked = "" if each.revoked_s is None else f"; revoked on {day(each.revoked_s)}"
    return f"{each.name}: since {day(each.created_s)}, {asked}, {number_of(each.requests, 'request')}{revoked}"


def _subscriber_json(each: Subscriber) -> dict[str, object]:
    from fedi_safety.cli.hashes.words import iso

    return {
        "name": each.name,
        "created": iso(each.created_s),
        "revoked": None if each.revoked_s is None else iso(each.revoked_s),
        "asked": None if each.asked_s is None else iso(each.asked_s),
        "requests": each.requests,
    }
