"""`doctor`: is everything that a scan needs in order on this machine?"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety import __version__
from fedi_safety.cli.shell import (
    ConfigOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    StoreArgument,
    YesOption,
    shell,
    write_json,
)
from fedi_safety.core.errors import ExitCode, FediSafetyError

if TYPE_CHECKING:
    from fedi_safety.app import Target
    from fedi_safety.config import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `ok` is None for what is only worth knowing."""

    thing: str
    ok: bool | None
    detail: str
    code: ExitCode = ExitCode.DONE


def doctor(
    store: StoreArgument = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Check configuration, policy, ledger, store, models, device and decoders, and say what is wrong with each."""
    sh = shell(config, ledger, log_level, quiet, yes)
    findings = list(_findings(sh.settings, store))
    if json_output:
        write_json({"findings": [{"thing": f.thing, "ok": f.ok, "detail": f.detail} for f in findings]})
    else:
        for finding in findings:
            mark = {True: "ok   ", False: "WRONG", None: "     "}[finding.ok]
            sh.say(f"{mark} {finding.thing}: {finding.detail}")
        wrong = sum(finding.ok is False for finding in findings)
        sh.say(f"{wrong} of these must be mended" if wrong else "all is in order")
    return max((f.code for f in findings), default=ExitCode.DONE)


def _findings(settings: Settings, store: str | None) -> Iterator[Finding]:
    yield Finding(
        "machine", None, f"fedi-safety {__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    yield Finding("configuration", True, "valid")
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("policy", lambda: _policy(settings)),
        ("ledger", lambda: _ledger(settings)),
        *_stores(settings, store),
        ("detectors", lambda: _detectors(settings)),
        ("decoder", lambda: _decoder(settings)),
    ]
    for thing, check in checks:
        try:
            yield from check()
        except FediSafetyError as error:
            yield Finding(thing, False, error.line(), error.exit_code)


def _policy(settings: Settings) -> Iterator[Finding]:
    from fedi_safety.detectors import signals_of
    from fedi_safety.policies import load_policy, warnings

    policy = load_policy(settings.policy)
    available = signals_of(settings.detectors)
    yield Finding("policy", True, policy.among(available).id)
    for warning in warnings(policy, available):
        yield Finding("policy", None, warning)


def _ledger(settings: Settings) -> Iterator[Finding]:
    from fedi_safety import app
    from fedi_safety.config import ledger_path

    book = app.open_settings_ledger(settings)
    book.dispose()
    yield Finding("ledger", True, f"{ledger_path(settings)}: can be read and written")


def _stores(settings: Settings, named: str | None) -> list[tuple[str, Callable[[], Iterator[Finding]]]]:
    """Return a check for each configured store, or for the one that was named."""
    from fedi_safety import app

    if named is None and settings.store is None and not settings.stores:
        nothing = Finding("store", None, "none configured; commands need one to be named")
        return [("store", lambda: iter([nothing]))]
    try:
        chosen = app.targets(settings, named)
    except FediSafetyError as error:
        wrong = Finding("store", False, error.line(), error.exit_code)
        return [("store", lambda: iter([wrong]))]
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = []
    for target in chosen:
        # A name is said where it tells more than the place that follows.
        called = "store" if target.name == target.url else f"store {target.name}"
        checks.append((called, partial(_store, called, target)))
    return checks


def _store(called: str, target: Target) -> Iterator[Finding]:
    opened = target.open()
    try:
        first = next(iter(opened.list()), None)
    finally:
        opened.close()
    yield Finding(called, True, f"{opened.url}: can be listed" + ("" if first else ", but is empty"))


def _detectors(settings: Settings) -> Iterator[Finding]:
    from fedi_safety.detectors import open_detectors
    from fedi_safety.detectors.examples import check_examples
    from fedi_safety.detectors.runtime import choose_device

    choice = choose_device(settings.device)
    yield Finding("device", True, f"{choice.name} ({choice.reason}), {len(os.sched_getaffinity(0))} cores")
    for detector in open_detectors(settings.detectors, settings.device, 1):
        wrong = check_examples(detector)
        code = ExitCode.SELF_TEST if wrong else ExitCode.DONE
        yield Finding(f"detector {detector.name}", not wrong, "; ".join(wrong) or detector.version, code)


def _decoder(settings: Settings) -> Iterator[Finding]:
    from fedi_safety import app
    from fedi_safety.media import SandboxDecoder
    from fedi_safety.testcard import draw_test_card

    decoder = SandboxDecoder(app.caps(settings), 1)
    try:
        card = draw_test_card()
        decoded = decoder.decode(card, decoder.sniff(card[:4096]))
        yield Finding("decoder", True, f"{decoder.version}; the test card is {decoded.width}x{decoded.height}")
        protections = decoder.protections()
        lacking = [name for name, active in protections.items() if not active]
        if lacking:
            yield Finding("decoder processes", False, f"protections that are NOT active: {'; '.join(lacking)}")
        else:
            yield Finding("decoder processes", True, f"confined: {'; '.join(protections)}")
    finally:
        decoder.close()
