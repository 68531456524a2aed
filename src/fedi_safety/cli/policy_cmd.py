"""`policy check|preview|show`: policy files before they are used."""

from __future__ import annotations

from typing import Annotated

import typer

from fedi_safety.cli.options import (
    ConceptsOption,
    ConfigOption,
    JsonOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    YesOption,
)
from fedi_safety.cli.shell import shell, write_json

commands = typer.Typer(help="Check, preview and show policies.")

PolicyArgument = Annotated[
    str | None, typer.Argument(metavar="NAME|FILE", help="A preset or a policy file; left out, the configured one.")
]


@commands.command()
def check(
    policy: PolicyArgument = None,
    concepts: ConceptsOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Say whether a policy file is valid, every mistake with its line, and what in it will have no effect."""
    from fedi_safety import policies
    from fedi_safety.app.engine import measurable

    sh = shell(config, ledger, log_level, quiet, yes, clip={"concepts": concepts})
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
    import sys

    from fedi_safety import policies

    sh = shell(config, ledger, log_level, quiet, yes)
    text, _ = policies.policy_text(policy or sh.settings.policy)
    sys.stdout.write(text)
    return 0


@commands.command()
def preview(
    policy: PolicyArgument = None,
    concepts: ConceptsOption = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Decide the whole ledger anew under a policy and print what would change. Changes nothing, opens no file."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.replay import preview_ledger
    from fedi_safety.cli.text.summary import ledger_line
    from fedi_safety.policies import load_policy

    sh = shell(config, ledger, log_level, quiet, yes, clip={"concepts": concepts})
    chosen = load_policy(policy or sh.settings.policy)
    records = open_settings_ledger(sh.settings, readonly=True)
    try:
        found = preview_ledger(sh.settings, chosen, records)
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
            f"undecided: {found.undecided:,}. The cascade left out detectors that this policy needs for them; "
            "a scan with it reads them again."
        )
    sh.say(ledger_line(records.name))
    return 0
