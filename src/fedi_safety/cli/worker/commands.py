"""`worker`: judges for gates elsewhere. Finds out which gates and keys are meant, loads the engine, and hands over."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import (
    ConfigOption,
    DetectorsOption,
    DeviceOption,
    JobsOption,
    LedgerOption,
    LogLevelOption,
    PolicyOption,
    PrecisionOption,
    QuietOption,
    YesOption,
)
from fedi_safety.cli.shell import Shell, shell
from fedi_safety.core.errors import UsageError
from fedi_safety.core.wording.nearest import did_you_mean

if TYPE_CHECKING:
    from fedi_safety.config.schema import Settings


def worker(
    gate: Annotated[
        list[str] | None,
        typer.Argument(metavar="URL", help="Gates, by URL or configured name; left out, all configured ones."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What this worker calls itself. Default: the host name."),
    ] = None,
    room: Annotated[
        int,
        typer.Option("--room", min=0, max=64, help="Uploads of each gate in hand at once; 0: what suits the engine."),
    ] = 0,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep", metavar="STORE", help="Go through this store while no gate asks, as `watch` does; repeatable."
        ),
    ] = None,
    detectors: DetectorsOption = None,
    policy: PolicyOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    jobs: JobsOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Run until stopped: fetch uploads from gates elsewhere, judge them here, and bring the verdicts back."""
    names = None if detectors is None else [word.strip() for word in detectors.split(",") if word.strip()]
    judged = {"detectors": names, "policy": policy, "device": device, "precision": precision, "jobs": jobs}
    sh = shell(config, ledger, log_level, quiet, yes, **judged)
    return run_worker(sh, gate or [], name=name, room=room, sweep=sweep or [])


@dataclass(frozen=True, slots=True)
class Remote:
    """A gate to work for."""

    name: str
    url: str
    key: str


def run_worker(
    sh: Shell, named: Sequence[str], *, name: str | None = None, room: int = 0, sweep: Sequence[str] = ()
) -> int:
    """Work for these gates, and go through these stores in between. Also serves the predecessor's script name."""
    import asyncio

    from fedi_safety.cli.worker import sweeping
    from fedi_safety.cli.worker.life import work
    from fedi_safety.policies import load_policy

    gates = remotes(sh.settings, named)
    policy = load_policy(sh.settings.policy)
    own_name = name or socket.gethostname() or "worker"
    with sweeping.opened(sh, sweep) as stores:
        return asyncio.run(work(sh, gates, policy, f"{own_name}-{os.getpid()}", room, stores))


def remotes(settings: Settings, named: Sequence[str]) -> list[Remote]:
    """Return the gates that are meant, with their keys. Raises `UsageError`, also for a URL or key of no use."""
    from fedi_safety.clients.pictrs_safety import checked_key, gate_url

    configured = [(gate.name, gate_url(gate.url), gate.key) for gate in settings.worker.gates]
    found: list[Remote] = []
    for word in named or [name for name, _, _ in configured]:
        known = next((gate for gate in configured if gate[0] == word), None)
        if known is None and configured and "." not in word and ":" not in word:
            names = [name for name, _, _ in configured]
            remedy = f"name one of: {', '.join(names)}, or give a URL{did_you_mean(word, names)}"
            raise UsageError(word, "no gate of this name is configured", remedy)
        url = known[1] if known is not None else gate_url(word)
        known = known or next((gate for gate in configured if gate[1] == url), None)
        key = (known[2] if known is not None else None) or settings.worker.key
        if any(remote.url == url for remote in found):
            raise UsageError(word, "this gate is named twice", "name it once")
        label = known[0] if known is not None else url
        found.append(Remote(label, url, checked_key(url, key.get_secret_value() if key is not None else "")))
    if not found:
        raise UsageError("worker", "no gate was named and none is configured", "give a URL, or set `worker.gates`")
    return found
