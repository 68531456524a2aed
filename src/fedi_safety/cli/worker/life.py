"""A worker from its first contact with its gates to its end: signals, the policy read again, what systemd is told."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fedi_safety.cli.shell import Shell
from fedi_safety.core.errors import ExitCode, FediSafetyError

if TYPE_CHECKING:
    from fedi_safety.cli.worker.commands import Remote
    from fedi_safety.cli.worker.sweeping import Opened
    from fedi_safety.config.schema import Settings
    from fedi_safety.core.policy import Policy
    from fedi_safety.judging.engine import EngineJudge
    from fedi_safety.service.systemd import Notifier
    from fedi_safety.worker.worker import Link, Worker

_DECODE_S = 10.0  # half of a gate's usual deadline
_QUEUE = 1024  # for the engine; what is in hand is bounded before, by `--room`


async def work(
    sh: Shell, gates: Sequence[Remote], policy: Policy, own_name: str, room: int, stores: Opened | None = None
) -> int:
    """Judge for these gates until stopped, and go through these stores while none of them asks."""
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
    had_lists = [] if stores is None else [stores.ledger.had_lists]
    load = partial(open_engine, _patient(settings), *had_lists)
    judge = EngineJudge(load, policy, NoMemory(), forget, Metrics(), EngineLimits(queue=_QUEUE))
    loop.add_signal_handler(signal.SIGHUP, partial(_reload, sh, [judge.take_policy]))
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
            if stores is None:
                await work.run()
            else:
                await _run_and_sweep(sh, stores, work, judge, policy)
        finally:
            for task in beside:
                task.cancel()
        _tell(sh, links)
        return ExitCode.DONE
    finally:
        await judge.stop()


async def _run_and_sweep(sh: Shell, stores: Opened, work: Worker, judge: EngineJudge, policy: Policy) -> None:
    """Run until stopped, and meanwhile go through the stores while nothing of any gate is in hand."""
    engine = judge.engine
    assert engine is not None
    loop = asyncio.get_running_loop()
    held = stores.sweeping(engine, policy, lambda: work.busy)
    sweeps = await asyncio.to_thread(held.__enter__)
    try:
        loop.add_signal_handler(
            signal.SIGHUP,
            partial(_reload, sh, [judge.take_policy, lambda new: sweeps.take_policy(engine.in_force(new))]),
        )
        sh.note(f"between the gates' uploads {stores.names} is gone through; ledger {stores.ledger.name}")
        await work.run()
    finally:
        await asyncio.to_thread(held.__exit__, None, None, None)


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


def _reload(sh: Shell, takers: Sequence[Callable[[Policy], None]]) -> None:
    """Read the policy again; one that is not valid leaves the old one in force."""
    from fedi_safety.policies import load_policy

    try:
        policy = load_policy(sh.settings.policy)
    except FediSafetyError as error:
        sh.warn(f"the policy stays as it was: {error.line()}")
        return
    for take in takers:
        take(policy)
    sh.note("the policy was read again")


def _tell(sh: Shell, links: Sequence[Link]) -> None:
    for link in links:
        said = link.figures
        text = f"{said.judged:,} judged, {said.blocked:,} condemned, {said.unjudged:,} without a verdict"
        sh.say(f"{link.name}: {text}{f', {said.lost} not brought back' if said.lost else ''}")
