"""`policy check|preview|show`: policy files before they are used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import (
    ConceptsOption,
    ConfigOption,
    JsonOption,
    LearnedOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    YesOption,
)
from fedi_safety.cli.shell import shell, write_json
from fedi_safety.core.errors import printable
from fedi_safety.service.heap import loading

if TYPE_CHECKING:
    from fedi_safety.app.replay import Change
    from fedi_safety.core.ledger.ports import LedgerReader

commands = typer.Typer(help="Check, preview and show policies.")

PolicyArgument = Annotated[
    str | None, typer.Argument(metavar="NAME|FILE", help="A preset or a policy file; left out, the configured one.")
]


@commands.command()
def check(
    policy: PolicyArgument = None,
    concepts: ConceptsOption = None,
    learned: LearnedOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Say whether a policy file is valid, every mistake with its line, and what in it will have no effect."""
    from fedi_safety import policies
    from fedi_safety.app.engine import measurable

    sh = shell(config, ledger, log_level, quiet, yes, clip={"concepts": concepts, "learned": learned or None})
    chosen = policies.load_policy(policy or sh.settings.policy)
    measured = measurable(sh.settings)
    sh.say(f"{measured.in_force(chosen).id}: valid, {len(chosen.rules)} rules")
    for warning in policies.warnings(chosen, measured.signals):
        sh.say(f"  note: {warning}")
    return 0


@commands.command("show")
def show_policy(
    policy: PolicyArgument = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Print a policy's text; a preset's makes a good start for a file of your own."""
    from fedi_safety import policies

    sh = shell(config, ledger, log_level, quiet, yes)
    text, _ = policies.policy_text(policy or sh.settings.policy)
    sys.stdout.write(text)
    return 0


@commands.command()
def preview(
    policy: PolicyArgument = None,
    concepts: ConceptsOption = None,
    objects: Annotated[
        bool, typer.Option("--objects", help="Name each object whose verdict would change: from, to, key, store.")
    ] = False,
    learned: LearnedOption = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Decide the whole ledger anew under a policy and print what would change. Changes nothing, opens no file."""
    # What is loaded stays to the end: looking through it for each page took a fifth of the time.
    with loading():
        from fedi_safety.app.ledger import open_settings_ledger
        from fedi_safety.app.replay import preview_ledger
        from fedi_safety.cli.text.summary import ledger_line
        from fedi_safety.policies import load_policy

        sh = shell(config, ledger, log_level, quiet, yes, clip={"concepts": concepts, "learned": learned or None})
        chosen = load_policy(policy or sh.settings.policy)
        records = open_settings_ledger(sh.settings, readonly=True)
    try:
        name = partial(_name_changes, records, json_output=json_output) if objects else None
        found = preview_ledger(sh.settings, chosen, records, name)
    finally:
        records.dispose()
    if json_output:
        write_json(
            {
                "policy": found.policy,
                "ledger": records.name,
                "objects": found.objects,
                "undecided": found.undecided,
                "computed": found.computed,
                "changes": [{"from": a, "to": b, "objects": n} for (a, b), n in sorted(found.changes.items())],
                "rules": dict(sorted(found.rules.items())),
            }
        )
        return 0
    from rich.table import Table

    table = Table(title=f"{found.policy} over {found.objects:,} judged objects")
    for heading in ("verdict now", "under this policy", "objects"):
        table.add_column(heading, justify="right" if heading == "objects" else "left")
    for (old, new), count in sorted(found.changes.items()):
        table.add_row(old, new if new != old else f"{new} (as before)", f"{count:,}")
    sh.out.print(table)
    for rule, count in sorted(found.rules.items()):
        sh.say(f"rule {rule!r} holds for {count:,} objects")
    if found.computed:
        sh.say(f"the signals of {found.computed:,} contents were computed anew from their kept embeddings")
    if found.undecided:
        sh.say(
            f"undecided: {found.undecided:,}. The cascade left out detectors that this policy needs for them, or they "
            "were not looked at as closely as it would; a scan with it reads them again."
        )
    sh.say(ledger_line(records.name))
    return 0


def _name_changes(records: LedgerReader, changes: Sequence[Change], *, json_output: bool) -> None:
    """Print a line for each object that is present and has one of these contents."""
    objects = records.objects_with([sha256 for sha256, _, _ in changes])
    for sha256, old, new in changes:
        for store, key in objects.get(sha256, ()):
            if json_output:
                write_json({"from": old, "to": new, "key": key, "store": store, "sha256": sha256.hex()})
            else:
                sys.stdout.write("\t".join(map(printable, (old, new, key, store))) + "\n")
