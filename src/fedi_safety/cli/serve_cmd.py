"""`serve`: the gate. Checks who may ask, opens what it needs, and hands over to `fedi_safety.gate.service`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    PrecisionOption,
    QuietOption,
    YesOption,
)
from fedi_safety.cli.shell import Shell, shell
from fedi_safety.core.errors import ExitCode
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket

    from starlette.routing import BaseRoute

    from fedi_safety.config.schema import Gate
    from fedi_safety.gate.in_hand import UploadsInHand
    from fedi_safety.gate.moving import Elsewhere


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            "--host", "--listen", "-l", metavar="ADDRESS", help="Where to listen; 0.0.0.0 or :: for everywhere."
        ),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", min=1, max=65535, help="The port to listen on.")] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", "-i", help="As pictrs-safety's: listen everywhere, unless an address is given."),
    ] = False,
    engine: Annotated[
        bool | None, typer.Option("--engine/--no-engine", help="Judge in this process, or leave it to workers alone.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="STORE", help="Where uploads end: a path, a URL or a configured name."),
    ] = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="FORM", help="How to write the log: text or json.")
    ] = None,
    verbosity: Annotated[
        int, typer.Option("--verbosity", "-v", count=True, help="As pictrs-safety's: log more; twice, still more.")
    ] = 0,
    color: Annotated[bool, typer.Option("--color", help="As pictrs-safety's, without effect: logs are plain.")] = False,
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
    """Run until stopped: judge uploads before they are published, for pict-rs and as a proxy before other servers."""
    if insecure and host is None:
        host = "0.0.0.0"
    own = {"host": host, "port": port, "engine": engine, "store": store, "log": log}
    given: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    log_level = log_level or {0: None, 1: "info"}.get(verbosity, "debug")
    names = None if detectors is None else [name.strip() for name in detectors.split(",") if name.strip()]
    judged = {"detectors": names, "policy": policy, "device": device, "precision": precision, "jobs": jobs}
    sh = shell(config, ledger, log_level, quiet, yes, gate=given, **judged)
    if color:
        sh.note("note: --color has no effect; logs are written plain")
    return run_serve(sh)


def run_serve(sh: Shell) -> int:
    """Serve as configured."""
    import asyncio
    from contextlib import ExitStack

    from fedi_safety.app.acts import act_for
    from fedi_safety.app.consent import remembered
    from fedi_safety.app.known.lists import apply_ended
    from fedi_safety.app.ledger import open_upload_ledger
    from fedi_safety.app.notices.channels import checked as checked_lines
    from fedi_safety.app.notices.sending import sending
    from fedi_safety.app.stores import upload_store
    from fedi_safety.cli.consent import tell_others
    from fedi_safety.config.loading import variables
    from fedi_safety.config.predecessor import unused_database
    from fedi_safety.gate import edge
    from fedi_safety.gate.in_hand import UploadsInHand
    from fedi_safety.gate.service import Serving, checked
    from fedi_safety.judging import logs
    from fedi_safety.policies import load_policy
    from fedi_safety.stores import canonical_url
    from fedi_safety.tracing import open_tracer

    settings = sh.settings
    gate = settings.gate
    checked(gate, gate.host)
    lines = checked_lines(settings)
    policy = load_policy(settings.policy)
    target = upload_store(settings)
    if target is not None:
        act_for(target.settings, target)  # says now what would be wrong later
        store = canonical_url(target.url, target.settings)  # likewise of a directory that is not there
        if (tracer := open_tracer(target.settings.trace)) is not None:  # likewise
            tracer.close()
    logs.set_up(gate.log)
    records = open_upload_ledger(settings)
    in_hand = UploadsInHand()
    pages = _review_pages(sh, in_hand)
    try:
        with edge.bind(gate.host, gate.port) as listener, pages as (further, away), ExitStack() as others:
            upstreams = {
                name: others.enter_context(edge.bind(gate.host, upstream.port))
                for name, upstream in gate.upstream.items()
            }
            serving = Serving(
                settings, records, policy, listener, reload=lambda: load_policy(settings.policy),
                upstream_listeners=upstreams, apart=True, extra_routes=further, elsewhere=away,
                in_hand=in_hand, ended=partial(apply_ended, settings, records),
            )  # fmt: skip
            for line in _beginning(gate, listener, upstreams, policy.name, records.name):
                sh.note(line)
            if (unused := unused_database(variables())) is not None:
                sh.warn(unused)
            for line in warnings(gate, findable=target is not None):
                sh.warn(line)
            if target is not None:
                tell_others(sh, store)
                if remembered(target, records, store).settings.act is None:
                    sh.warn(f"no action is chosen for {store}: what is let in without a verdict and condemned later is "
                            f"planned, and waits for {hint('apply {}', store)}; set `act`")  # fmt: skip
            with sending(records, lines, settings.notify.name):
                asyncio.run(serving.run())
    finally:
        records.dispose()
    return ExitCode.DONE


def _beginning(
    gate: Gate, listener: socket, upstreams: Mapping[str, socket], policy: str, ledger: str
) -> Iterator[str]:
    """Yield what is said at the start: where it listens, and for what."""
    from fedi_safety.gate.edge import shown

    yield f"the gate listens on {shown(listener)}; policy {policy}; ledger {ledger}; stop with Ctrl-C or SIGTERM"
    for name, other in upstreams.items():
        upstream = gate.upstream[name]
        yield f"uploads to {name} ({upstream.kind}, {upstream.url}) come in on {shown(other)}"


@contextmanager
def _review_pages(sh: Shell, in_hand: UploadsInHand) -> Iterator[tuple[Sequence[BaseRoute], Elsewhere | None]]:
    """Give what the gate serves of the review pages, and who serves the others of its port.

    Nothing where they are off, or have a port of their own.
    """
    review = sh.settings.review
    if not review.enabled:
        yield (), None
        return
    from contextlib import ExitStack

    from fedi_safety.gate import edge
    from fedi_safety.gate.moving import AVAILABLE
    from fedi_safety.review.people import People
    from fedi_safety.review.serving import PLACE, OwnServer, opened, routes
    from fedi_safety.review.serving_apart import PagesProcess

    people = People.configured(review)  # says now what would be wrong later
    with ExitStack() as stack:
        listener = None if review.port is None else stack.enter_context(edge.bind(review.host, review.port))
        where = f"under {PLACE}/, beside the gate" if listener is None else f"at {edge.shown(listener)}{PLACE}/"
        process = server = pages = None
        if AVAILABLE:
            process = PagesProcess(sh.settings, listener, in_hand)
            process.start()
            stack.callback(process.close)
        else:
            pages = stack.enter_context(opened(sh.settings, people))
            if listener is not None:
                server = OwnServer(pages, listener)
                server.start()
                stack.callback(server.stop)
        sh.note(f"the review pages are {where}")
        if listener is not None:
            yield (), None
        elif process is not None:
            yield process.routes(), process
        elif pages is not None:
            yield routes(pages), None


def warnings(gate: Gate, *, findable: bool) -> Iterator[str]:
    """Yield what must be known before the first upload comes: what nobody will have looked at.

    `findable`: what is let in without a verdict is found again in a store.
    """
    from fedi_safety.gate.proxy.kinds import KINDS

    accepted = [name for name, said in gate.unjudged if said == "accept" and name != "partly"]
    if not findable and accepted:
        yield (
            f"WARNING: no store is configured. What is let in without a verdict ({', '.join(accepted)}) is published, "
            "judged later only while memory still has it, and never found again; set `gate.store`, or `refuse` in "
            "[gate.unjudged]"
        )
    anew = sorted({up.kind for up in gate.upstream.values() if KINDS[up.kind].reencodes})
    if anew and accepted:
        yield (
            f"note: {', '.join(anew)} may write pictures anew. What is let in without a verdict is then found again in "
            f"the store by time, shape and likeness (PDQ); what cannot be, {hint('report')} counts"
        )
    if not gate.engine:
        does = "lets in unseen" if gate.unjudged.unopened == "accept" else "refuses"
        yield (
            "WARNING: only workers judge here. Those of the earlier fedi-safety open no clip (MP4, WebM), AVIF, JXL, "
            "HEIC, SVG or PDF, and of animations the first frame: while no other worker is there, the gate "
            f"{does} what they do not open (gate.unjudged.unopened)"
        )
