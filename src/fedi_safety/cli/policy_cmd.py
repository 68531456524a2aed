"""`policy check|preview|show`: policy files before they are used."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from fedi_safety.cli.shell import (
    ConfigOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    YesOption,
    shell,
    write_json,
)

commands = typer.Typer(help="Check, preview and show policies.")

PolicyArgument = Annotated[
    str | None, typer.Argument(metavar="[NAME|FILE]", help="A preset or a policy file; left out, the configured one.")
]


@commands.command()
def check(
    policy: PolicyArgument = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Say whether a policy file is valid, every mistake with its line, and what in it will have no effect."""
    from fedi_safety import policies
    from fedi_safety.detectors import signals_of

    sh = shell(config, ledger, log_level, quiet, yes)
    chosen = policies.load_policy(policy or sh.settings.policy)
    available = signals_of(sh.settings.detectors)
    sh.say(f"{chosen.among(available).id}: valid, {len(chosen.rules)} rules")
    for warning in policies.warnings(chosen, available):
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
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Decide the whole ledger anew under a policy and print what would change. Changes nothing, opens no file."""
    from fedi_safety import app
    from fedi_safety.detectors import signals_of

    sh = shell(config, ledger, log_level, quiet, yes)
    available = signals_of(sh.settings.detectors)
    chosen = app.load_policy(policy or sh.settings.policy).among(available)
    decide = app.rejudge(chosen, available)
    book = app.open_settings_ledger(sh.settings, readonly=True)
    changes: Counter[tuple[str, str]] = Counter()
    rules: Counter[str] = Counter()
    undecided = total = 0
    try:
        for sha256, scores, judgement, objects in book.iter_scores():
            if not objects:  # every object with this content has been removed
                continue
            total += objects
            decided = decide(sha256, scores)
            if decided is None:
                undecided += objects
                continue
            changes[judgement.verdict.value, decided.verdict.value] += objects
            rules.update({hit.rule: objects for hit in decided.reasons})
    finally:
        book.dispose()
    if json_output:
        write_json(
            {
                "policy": chosen.id,
                "objects": total,
                "undecided": undecided,
                "changes": [{"from": a, "to": b, "objects": n} for (a, b), n in sorted(changes.items())],
                "rules": dict(sorted(rules.items())),
            }
        )
        return 0
    from rich.table import Table

    table = Table(title=f"{chosen.id} over {total:,} judged objects")
    for heading in ("verdict now", "under this policy", "objects"):
        table.add_column(heading, justify="right" if heading == "objects" else "left")
    for (old, new), count in sorted(changes.items()):
        table.add_row(old, new if new != old else f"{new} (as before)", f"{count:,}")
    sh.out.print(table)
    for rule, count in sorted(rules.items()):
        sh.say(f"rule {rule!r} holds for {count:,} objects")
    if undecided:
        sh.say(
            f"undecided: {undecided:,}. The cascade left out detectors that this policy needs for them; "
            "a scan with it reads them again."
        )
    return 0
