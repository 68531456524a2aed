"""`review`: the review pages on this machine, passwords for those who may use them elsewhere, and their views a day."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import on_stop, shell
from fedi_safety.core.errors import UsageError
from fedi_safety.core.wording.hints import command, hint

if TYPE_CHECKING:
    from fedi_safety.cli.shell import Shell

_PASSWORD, _LIMIT = "password", "limit"
_ROLES = ("viewer", "reviewer", "looker", "admin")


def review(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="password|limit",
            help="Instead of opening the pages: let somebody in by a password, or set how many views a day they have.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The name that the person signs in with.")] = None,
    most: Annotated[
        int | None, typer.Argument(metavar="N", min=0, max=1000, help="With limit: views a day; left out, it is told.")
    ] = None,
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, help="The port on this machine; 0 takes a free one.")
    ] = 0,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="viewer, reviewer, looker or admin; may be repeated."),
    ] = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Open the review pages on this machine: decide without looking. The link that it prints is good once."""
    if what is not None and what not in (_PASSWORD, _LIMIT):
        remedy = f"it is {hint('review')}, {hint('review password NAME')} or {hint('review limit NAME')}"
        raise UsageError(what, "is nothing that review does", remedy)
    sh = shell(config, ledger, log_level, quiet, yes)
    if role and what != _PASSWORD:
        raise UsageError("--role", "belongs to `password`", f"give {hint('review password NAME --role ROLE')}")
    if what is None:
        return _serve(sh, port)
    if name is None:
        raise UsageError(what, "whose?", f"give {hint('review {} NAME', what)}")
    if what == _LIMIT:
        return _limit(sh, name, most)
    if most is not None:
        raise UsageError(str(most), "belongs to `limit`", f"give {hint('review limit NAME N')}")
    return _let_in(sh, name, role or [_ROLES[0]])


def _serve(sh: Shell, port: int) -> int:
    from fedi_safety.cli.confirm_cmd import who
    from fedi_safety.gate import edge
    from fedi_safety.review.people import People
    from fedi_safety.review.serving import PLACE, OwnServer, opened

    people = People.of_this_machine(who())
    stop = threading.Event()
    with edge.bind("127.0.0.1", port) as listener, opened(sh.settings, people) as pages:
        server = OwnServer(pages, listener)
        with on_stop(stop.set):
            server.start()
            try:
                sh.note(f"ledger {pages.ledger.name}; stop with Ctrl-C")
                sh.note("open this link in a browser of this machine; it is good once, for ten minutes:")
                sys.stdout.write(f"{edge.shown(listener)}{PLACE}/enter?key={people.key}\n")
                sys.stdout.flush()
                server.wait(stop.is_set)
            finally:
                server.stop()
    return 0


def _limit(sh: Shell, name: str, most: int | None) -> int:
    """Tell how many views a day somebody may have and had, or set that."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.confirm_cmd import who
    from fedi_safety.cli.text.summary import ledger_line
    from fedi_safety.core.errors import printable

    people = sh.settings.review.people
    if name not in people:
        raise UsageError(name, "nobody of this name stands in the configuration", f"see {hint('review password NAME')}")
    ledger = open_settings_ledger(sh.settings)
    try:
        if most is not None:
            ledger.set_view_limit(name, most, who())
        own, had = ledger.view_limits().get(printable(name)), ledger.views_of_day().get(printable(name), 0)
        known = ledger.name
    finally:
        ledger.dispose()
    may = sh.settings.review.views_per_day if own is None else own.most
    sh.say(f"{name}: {may} views a day{'' if own is None else f', set by {own.by}'}; {had} within the last day")
    if "looker" not in people[name].roles:
        sh.note(f"{name} is no looker, and is shown nothing")
    sh.say(ledger_line(known))
    return 0


def _let_in(sh: Shell, name: str, roles: list[str]) -> int:
    """Ask for a password, and print the lines of the configuration that let this person in."""
    from fedi_safety.config.writing import quoted
    from fedi_safety.review.people import LEAST_LETTERS, hashed

    if unknown := next((word for word in roles if word not in _ROLES), None):
        raise UsageError(f"--role {unknown}", "no such role", f"use {', '.join(_ROLES[:-1])} or {_ROLES[-1]}")
    if not name.isprintable():
        raise UsageError("NAME", "has characters that cannot be seen", "take letters, digits, and the like")
    given = _typed(sh, "Password:")
    if len(given) < LEAST_LETTERS:
        raise UsageError("the password", f"has fewer than {LEAST_LETTERS} letters", "take a few words in a row")
    if sh.can_ask and _typed(sh, "The same once more:") != given:
        raise UsageError("the password", "was typed differently", "try again")
    lines = (f"[review.people.{quoted(name)}]", f"password = {quoted(hashed(given))}",
             f"roles = [{', '.join(map(quoted, roles))}]")  # fmt: skip
    sys.stdout.write("\n".join(lines) + "\n")
    sh.note(f"put this into the configuration; {command('serve')} takes it over when it is started again")
    return 0


def _typed(sh: Shell, question: str) -> str:
    """Return what was typed unseen on a terminal, else the next line of the input."""
    line = sh.typed(question, secret=True) if sh.can_ask else sys.stdin.readline()
    return line.rstrip("\n")
