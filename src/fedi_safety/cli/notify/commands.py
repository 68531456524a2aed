"""`notify test`, `notify list` and `notify send`: whether the operator is told, what waits, and sending it now."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import (
    ConfigOption,
    JsonOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    YesOption,
)
from fedi_safety.cli.shell import shell, write_json
from fedi_safety.core.errors import ExitCode, UsageError, printable

if TYPE_CHECKING:
    from fedi_safety.app.notices.channels import Line
    from fedi_safety.cli.shell import Shell
    from fedi_safety.core.ledger.notices import Notice

commands = typer.Typer(help="Who is told when something happens, and what waits to be told.", no_args_is_help=True)

_WITHIN_S = 60.0
_SHOWN = 1000


@commands.command()
def test(
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Send a message to every address and run every hook, at once, and say how that went."""
    from fedi_safety.app.notices.channels import checked
    from fedi_safety.app.notices.trial import tried

    sh = shell(config, ledger, log_level, quiet, yes)
    failed = 0
    for name, sent in tried(_configured(sh, checked(sh.settings)), sh.settings.notify.name):
        if sent.ok:
            sh.say(f"{name}: sent")
        else:
            failed += 1
            sh.warn(f"{name}: not sent: {sent.error}")
    return ExitCode.OUTSIDE if failed else ExitCode.DONE


@commands.command("list")
def list_notices(
    every: Annotated[
        bool, typer.Option("--all", help="Also what was sent, given up or left without an answer, within a month.")
    ] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """List what waits to be told, oldest first: number, time, state, to whom, what, how often tried, why not."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.text.summary import ledger_line
    from fedi_safety.core.ledger.notices import NoticeState

    sh = shell(config, ledger, log_level, quiet, yes)
    states = tuple(NoticeState) if every else (NoticeState.WAITING, NoticeState.SENDING)
    records = open_settings_ledger(sh.settings, readonly=True)
    try:
        found = records.notices(states, _SHOWN)
        figures = records.notice_figures()
    finally:
        records.dispose()
    if json_output:
        write_json({"ledger": records.name, "notices": [_as_json(notice) for notice in found]})
        return 0
    for notice in found:
        sys.stdout.write("\t".join(map(printable, _cells(notice))) + "\n")
    if len(found) == _SHOWN:
        sh.say(f"... and more: {sum(each.waiting for each in figures):,} wait altogether")
    if not found:
        sh.say("nothing waits to be told")
    for each in figures:
        if each.late:
            sh.say(each.line())
    sh.say(ledger_line(records.name))
    return 0


@commands.command()
def send(
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Send what waits, for a minute at the most, what is still gathered and what failed before included."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.notices.channels import checked
    from fedi_safety.app.notices.sending import send_rest
    from fedi_safety.cli.text.progress import waiting

    sh = shell(config, ledger, log_level, quiet, yes)
    lines = _configured(sh, checked(sh.settings))
    records = open_settings_ledger(sh.settings)
    try:
        records.hurry_notices()
        with waiting("sending", quiet=sh.quiet):
            left = send_rest(records, lines, sh.settings.notify.name, _WITHIN_S)
        figures = records.notice_figures()
    finally:
        records.dispose()
    for each in figures:
        if each.late:
            sh.warn(each.line())
    sh.say(f"{left:,} wait" if left else "everything is sent")
    return ExitCode.OUTSIDE if left else ExitCode.DONE


def _configured(sh: Shell, lines: list[Line]) -> list[Line]:
    if not lines:
        heart = ", and the heartbeat is no message" if sh.settings.notify.heartbeat_url is not None else ""
        raise UsageError("notify", f"nobody is to be told{heart}", "set `notify.urls`, or a hook (docs/notify.md)")
    return lines


def _cells(notice: Notice) -> tuple[str, ...]:
    from fedi_safety.cli.text.lookup import iso_time

    what = f"{notice.transition.value} {notice.count:,}" if notice.transition.counted else notice.transition.value
    return (
        str(notice.id),
        iso_time(notice.created_at),
        notice.state.value,
        notice.channel,
        f"{what} {notice.about}".rstrip(),
        str(notice.attempts),
        notice.error,
    )


def _as_json(notice: Notice) -> dict[str, object]:
    return {
        "id": notice.id,
        "at": notice.created_at,
        "state": notice.state.value,
        "channel": notice.channel,
        "transition": notice.transition.value,
        "about": notice.about,
        "count": notice.count,
        "rules": dict(notice.rules),
        "detail": notice.detail,
        "attempts": notice.attempts,
        "lost": notice.lost,
        "error": notice.error,
    }
