"""`worker`: judges for gates elsewhere. Finds out which gates and keys are meant, loads the engine, and hands over."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.options import (
    ConfigOption,
    DetectorsOption,
    DeviceOption,
    JobsOption,
    LedgerOption,
    LogLevelOption,
    PolicyOption,
    QuietOption,
    YesOption,
)
from fedi_safety.cli.shell import Shell, shell
from fedi_safety.core.errors import ExitCode, FediSafetyError, UsageError

if TYPE_CHECKING:
    from fedi_safety.config.schema import Settings
    from fedi_safety.core.policy import Policy
    from fedi_safety.judging.engine import EngineJudge
    from fedi_safety.service.systemd import Notifier
    from fedi_safety.worker.worker import Link, Worker

_DECODE_S = 10.0  # half of a gate's usual deadline
_QUEUE = 1024  # for the engine; what is in hand is bounded before, by `--room`


def worker(
    gate: Annotated[
        list[str] | None,
        typer.Argument(metavar="[URL...]", help="Gates, by URL or configured name; left out, all configured ones."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What this worker calls itself. Default: the host name."),
    ] = None,
    room: Annotated[
        int,
        typer.Option("--room", min=0, max=64, help="Uploads of each gate in hand at once; 0: what suits the engine."),
    ] = 0,
    detectors: DetectorsOption = None,
    policy: PolicyOption = None,
    device: DeviceOption = None,
    jobs: JobsOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Run until stopped: fetch uploads from gates elsewhere, judge them here, and bring the verdicts back."""
    names = None if detectors is None else [word.strip() for word in detectors.split(",") if word.strip()]
    sh = shell(config, ledger, log_level, quiet, yes, detectors=names, policy=policy, device=device, jobs=jobs)
    return run_worker(sh, gate or [], name=name, room=room)


@dataclass(frozen=True, slots=True)
class Remote:
    """A gate to work for."""

    name: str
    url: str
    key: str


def run_worker(sh: Shell, named: Sequence[str], *, name: str | None = None, room: int = 0) -> int:
    """Work for these gates. Also serves the predecessor's script name."""
    from fedi_safety.policies import load_policy

    gates = remotes(sh.settings, named)
    policy = load_policy(sh.settings.policy)
    own_name = name or socket.gethostname() or "worker"
    return asyncio.run(_work(sh, gates, policy, f"{own_name}-{os.getpid()}", room))


def remotes(settings: Settings, named: Sequence[str]) -> list[Remote]:
    """Return the gates that are meant, with their keys. Raises `UsageError`, also for a URL or key of no use."""
    from fedi_safety.clients.pictrs_safety import checked_key, gate_url

    configured = [(gate.name, gate_url(gate.url), gate.key) for gate in settings.worker.gates]
    found: list[Remote] = []
    for word in named or [name for name, _, _ in configured]:
        known = next((gate for gate in configured if gate[0] == word), None)
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


async def _work(sh: Shell, gates: Sequence[Remote], policy: Policy, own_name: str, room: int) -> int:
    from fedi_safety.app.engine import open_engine
    from fedi_safety.core.nulls import NoMemory
    from fedi_safety.core.types import Content, Judgement
    from fedi_safety.judging.engine import EngineJudge, EngineLimits
    from fedi_safety.judging.metrics import Metrics
    from fedi_safety.service.systemd import Notifier
    from fedi_safety.worker.gates import find_out
    from fedi_safety.worker.worker import Link, Worker

    def forget(_content: Content, _judgement: Judgement, _fresh: bool) -> None:
        """The gate keeps the record."""

    settings = sh.settings
    notifier = Notifier()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    load = partial(open_engine, _patient(settings))
    judge = EngineJudge(load, policy, NoMemory(), forget, Metrics(), EngineLimits(queue=_QUEUE))
    loop.add_signal_handler(signal.SIGHUP, partial(_reload, sh, judge))
    await judge.start()
    try:
        assert judge.loaded is not None
        await _or_stopped(asyncio.shield(judge.loaded), stopping)
        if stopping.is_set():
            return ExitCode.DONE
        engine = judge.loaded.result()
        limit = settings.limits.max_bytes
        links = [Link(gate.name, partial(find_out, gate.url, gate.key, own_name, max_bytes=limit)) for gate in gates]
        work = Worker(links, judge, room=room or 8 + 2 * engine.jobs)
        await _or_stopped(asyncio.ensure_future(_first_contact(sh, links, work)), stopping)
        if stopping.is_set():
            return ExitCode.DONE
        notifier.send("READY=1", f"STATUS=judging for {len(links)} gates")
        sh.note(f"judging for {', '.join(link.name for link in links)} on {engine.device}; stop with Ctrl-C or SIGTERM")
        beside = [asyncio.create_task(_stop_later(work, stopping, notifier)), asyncio.create_task(_beat(notifier))]
        try:
            await work.run()
        finally:
            for task in beside:
                task.cancel()
        _tell(sh, links)
        return ExitCode.DONE
    finally:
        await judge.stop()


def _patient(settings: Settings) -> Settings:
    """Return the settings of an engine for which somebody waits: no decoding may take longer than they do."""
    limits = settings.limits
    seconds = min(limits.max_seconds, _DECODE_S)
    return settings.model_copy(update={"limits": limits.model_copy(update={"max_seconds": seconds})})


async def _or_stopped(work: asyncio.Future[Any], stopping: asyncio.Event) -> None:
    """Wait for the work, or for the stop; what the work raises passes through."""
    stop: asyncio.Future[Any] = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if work.done():
        work.result()
    else:
        work.cancel()


async def _first_contact(sh: Shell, links: Sequence[Link], work: Worker) -> None:
    """Ask every gate once. A wrong key or address is an error if no gate is left; a gate that is down is waited for."""
    errors = [error for error in await asyncio.gather(*map(work.connect, links)) if error is not None]
    lasting = [error for error in errors if error.exit_code == ExitCode.USAGE]
    if len(lasting) == len(links):
        raise lasting[0]
    for error in errors:
        sh.warn(f"{error.line()}; it is tried again")


async def _stop_later(work: Worker, stopping: asyncio.Event, notifier: Notifier) -> None:
    await stopping.wait()
    notifier.send("STOPPING=1")
    work.stop()


async def _beat(notifier: Notifier) -> None:
    """Tell systemd's watchdog that the event loop lives."""
    while notifier.watchdog_s:
        notifier.send("WATCHDOG=1")
        await asyncio.sleep(notifier.watchdog_s / 3)


def _reload(sh: Shell, judge: EngineJudge) -> None:
    """Read the policy again; one that is not valid leaves the old one in force."""
    from fedi_safety.policies import load_policy

    try:
        judge.take_policy(load_policy(sh.settings.policy))
    except FediSafetyError as error:
        sh.warn(f"the policy stays as it was: {error.line()}")
    else:
        sh.note("the policy was read again")


def _tell(sh: Shell, links: Sequence[Link]) -> None:
    for link in links:
        said = link.figures
        text = f"{said.judged:,} judged, {said.blocked:,} condemned, {said.unjudged:,} without a verdict"
        sh.say(f"{link.name}: {text}{f', {said.lost} not brought back' if said.lost else ''}")
