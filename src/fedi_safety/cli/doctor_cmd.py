"""`doctor`: is everything that a scan needs in order on this machine?"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety import __version__
from fedi_safety.cli.options import (
    ConfigOption,
    JsonOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    StoreArgument,
    YesOption,
)
from fedi_safety.cli.shell import shell, write_json
from fedi_safety.core.errors import ExitCode, FediSafetyError
from fedi_safety.core.wording.hints import command, hint
from fedi_safety.service.cpus import cpu_count

if TYPE_CHECKING:
    from fedi_safety.app.stores import Target
    from fedi_safety.cli.shell import Shell
    from fedi_safety.config.schema import Pictrs, Settings, Trace
    from fedi_safety.detectors.sessions.devices import DeviceFact
    from fedi_safety.evaluation.speed import Speed


_SQL_LINES = 5  # that are shown unasked


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `ok` is None for what is only worth knowing."""

    thing: str
    ok: bool | None
    detail: str
    code: ExitCode = ExitCode.DONE
    sql: tuple[str, ...] = ()  # that mends it, for a person to read and run


def doctor(
    store: StoreArgument = None,
    speeds: Annotated[
        bool, typer.Option("--speeds", help="Also measure clip's model in every number format; takes a minute.")
    ] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print all SQL that makes or corrects roles of databases, however long.")
    ] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Check configuration, policy, ledger, store, tracing, models, device and decoders, and say what is wrong.

    Ends with a table of what networks can run on here, and the images a second that each detector reached.
    """
    from fedi_safety.detectors.sessions.devices import device_facts

    sh = shell(config, ledger, log_level, quiet, yes)
    reached: list[Speed] = []
    findings = []
    for finding in _findings(sh, store, reached):
        findings.append(finding)
        if not json_output:
            _say(sh, finding, store, sql=sql)
    if speeds:
        reached += _clip_speeds(sh.settings)
    facts = device_facts()
    if json_output:
        things = [{"thing": f.thing, "ok": f.ok, "detail": f.detail, "sql": list(f.sql)} for f in findings]
        devices = [{"device": f.name, "available": f.available, "by": f.by} for f in facts]
        write_json({"findings": things, "devices": devices, "speeds": [_speed_row(speed) for speed in reached]})
    else:
        _print_abilities(sh, facts, reached)
        wrong = sum(finding.ok is False for finding in findings)
        sh.say(f"{wrong} of these must be put right" if wrong else "all is in order")
    return max((f.code for f in findings), default=ExitCode.DONE)


def _speed_row(speed: Speed) -> dict[str, object]:
    return {
        "detector": speed.detector,
        "how": speed.how,
        "batch": speed.batch,
        "images_per_second": round(speed.images_per_second, 2),
        "problem": speed.problem,
    }


def _say(sh: Shell, finding: Finding, store: str | None, *, sql: bool) -> None:
    mark = {True: "ok   ", False: "WRONG", None: "     "}[finding.ok]
    sh.say(f"{mark} {finding.thing}: {finding.detail}")
    for line in _sql_lines(finding.sql, store, whole=sql):
        sh.say(f"        {line}")


def _sql_lines(sql: Sequence[str], store: str | None, *, whole: bool) -> Sequence[str]:
    """Return SQL as it is shown below what it mends: a few lines, or how to get them."""
    if whole or len(sql) <= _SQL_LINES:
        return sql
    typed = command("doctor --sql") if store is None else command("doctor {} --sql", store)
    return [f"the SQL, {len(sql)} lines: {typed}"]


def _print_abilities(sh: Shell, facts: Sequence[DeviceFact], reached: Sequence[Speed]) -> None:
    from rich.table import Table

    devices = Table(title="what networks can run on here", title_justify="left", box=None, pad_edge=False)
    for heading in ("device", "here", "by"):
        devices.add_column(heading)
    for fact in facts:
        devices.add_row(fact.name, "yes" if fact.available else "no", fact.by)
    sh.out.print(devices)
    table = Table(title="what the detectors reached", title_justify="left", box=None, pad_edge=False)
    for heading in ("detector", "as", "batch", "images/s"):
        table.add_column(heading, justify="right" if heading in ("batch", "images/s") else "left")
    for speed in reached:
        if not speed.problem:
            table.add_row(speed.detector, speed.how, str(speed.batch), f"{speed.images_per_second:,.1f}")
    if table.row_count:
        sh.out.print(table)
    problems: dict[str, list[str]] = {}
    for speed in reached:
        if speed.problem:
            problems.setdefault(speed.problem, []).append(f"{speed.detector} as {speed.how}")
    for problem, which in problems.items():
        sh.say(f"not measured: {', '.join(which)}: {problem}")


def _clip_speeds(settings: Settings) -> list[Speed]:
    from fedi_safety.detectors.examples import drawn_face
    from fedi_safety.evaluation.speed import clip_speeds

    return clip_speeds(settings, ("fp32", "bf16", "fp16", "int8"), drawn_face(), _threads(settings))


def _threads(settings: Settings) -> int:
    """Return how many threads score at once in a scan."""
    return settings.jobs or cpu_count()


def _findings(sh: Shell, store: str | None, reached: list[Speed]) -> Iterator[Finding]:
    """Look at everything; speeds go into `reached`."""
    settings = sh.settings
    yield Finding(
        "machine", None, f"fedi-safety {__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    yield Finding("configuration", True, _configuration(sh.config))
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("policy", lambda: _policy(settings)),
        ("ledger", lambda: _ledger(settings)),
        *_stores(settings, store),
        *_servers(settings, store),
        ("seal", lambda: _sealing(settings)),
        ("detectors", lambda: _detectors(settings, reached)),
        ("known images", lambda: _known(settings)),
        ("copies", lambda: _copies(settings)),
        ("sources", lambda: _sources(settings)),
        ("sharing", lambda: _sharing(settings)),
        ("notify", lambda: _notify(settings)),
        ("decoder", lambda: _decoder(settings)),
        ("upstream", lambda: _upstreams(settings)),
    ]
    for thing, check in checks:
        try:
            yield from check()
        except FediSafetyError as error:
            yield Finding(thing, False, error.line(), error.exit_code)


def _configuration(named: str | None) -> str:
    from fedi_safety.config.locations import config_file, there, user_config

    file = Path(named) if named is not None else config_file()
    if not there(file):
        return "valid; there is no file"
    unused = "" if named is not None or file == user_config() or not there(user_config()) else user_config()
    return f"valid, {file}" + (f"; {unused} is not used" if unused else "")


def _policy(settings: Settings) -> Iterator[Finding]:
    from fedi_safety.app.engine import measurable
    from fedi_safety.detectors import switched_off
    from fedi_safety.policies import PRESETS, load_policy, warnings

    policy = load_policy(settings.policy)
    measured = measurable(settings)
    yield Finding("policy", True, measured.in_force(policy).id)
    named = frozenset(signal for signals in policy.factors.values() for signal in signals)
    # What a preset is ready for is no news; a file of one's own names what its author wants.
    off = switched_off(settings, named) if settings.policy in PRESETS else frozenset[str]()
    for warning in warnings(policy, measured.signals, off):
        yield Finding("policy", None, warning)


def _ledger(settings: Settings) -> Iterator[Finding]:
    from fedi_safety.app.ledger import open_settings_ledger

    records = open_settings_ledger(settings)
    records.dispose()
    yield Finding("ledger", True, f"{records.name}: can be read and written")


def _stores(settings: Settings, named: str | None) -> list[tuple[str, Callable[[], Iterator[Finding]]]]:
    """Return a check for each configured store, or for the one that was named."""
    from fedi_safety.app.stores import targets

    if named is None and settings.store is None and not settings.stores:
        nothing = Finding("store", None, "none configured; commands need one to be named")
        return [("store", lambda: iter([nothing]))]
    try:
        chosen = targets(settings, named)
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
    from fedi_safety.app.store_rights import store_rights

    opened = target.open()
    try:
        rights = store_rights(opened, target.settings)
    finally:
        opened.close()
    yield Finding(called, not rights.problem, rights.text, ExitCode.USAGE if rights.problem else ExitCode.DONE)


def _sealing(settings: Settings) -> Iterator[Finding]:
    """Look at the keys, the vault and the preset of law, where copies are sealed, and at the copies there are."""
    import time

    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.seal_checks import check_sealing, is_configured

    if not is_configured(settings):
        return
    records = open_settings_ledger(settings)
    try:
        for found in check_sealing(settings, records, time.time()):
            yield Finding(found.thing, found.ok, found.detail, found.code)
    finally:
        records.dispose()


def _servers(settings: Settings, named: str | None) -> list[tuple[str, Callable[[], Iterator[Finding]]]]:
    """Return a check for each way to ask others: whose media these are, or for pict-rs' own names of its files.

    Stores may share one, or have their own.
    """
    from fedi_safety.app.stores import targets

    try:
        chosen = targets(settings, named)
    except FediSafetyError:  # which the stores' own check has told
        chosen = []
    ways: dict[str, Trace | Pictrs] = {} if chosen else {"trace": settings.trace, "pictrs": settings.pictrs}
    for target in chosen:
        for section in ("trace", "pictrs"):
            way = getattr(target.settings, section)
            if way not in ways.values():
                ways[section if way == getattr(settings, section) else f"{section} of store {target.name}"] = way
    return [(called, partial(_server, called, way)) for called, way in ways.items()]


def _server(called: str, access: Trace | Pictrs) -> Iterator[Finding]:
    """Look at the role of the database that is read, and try the token."""
    from fedi_safety.app.roles import check_pictrs, check_trace
    from fedi_safety.app.token_account import check_token
    from fedi_safety.config.schema import Trace

    if not isinstance(access, Trace):
        for found in check_pictrs(access):
            yield Finding(called, found.ok, found.detail, found.code, found.sql)
        return
    for found in check_trace(access):
        yield Finding(called, found.ok, found.detail, found.code, found.sql)
    token = check_token(access)
    if token is not None:
        code = ExitCode.USAGE if token.ok is False else ExitCode.DONE
        yield Finding(called, token.ok, f"token: {token.detail}", code)


def _detectors(settings: Settings, reached: list[Speed]) -> Iterator[Finding]:
    from fedi_safety.detectors import open_detectors
    from fedi_safety.detectors.examples import check_examples, drawn_face
    from fedi_safety.detectors.sessions.devices import choose_device
    from fedi_safety.evaluation.speed import measured

    choice = choose_device(settings.device)
    yield Finding("device", True, f"{choice.name} ({choice.reason}), {cpu_count()} cores")
    for detector in open_detectors(settings, 1).frames:
        wrong = check_examples(detector)
        code = ExitCode.SELF_TEST if wrong else ExitCode.DONE
        yield Finding(f"detector {detector.name}", not wrong, "; ".join(wrong) or detector.version, code)
        if not wrong:
            reached.append(measured(detector, drawn_face(), _threads(settings)))


def _known(settings: Settings) -> Iterator[Finding]:
    """Look whether the lists are whole, and whether pictures are found on lists at all."""
    from fedi_safety.app.known.lists import missing
    from fedi_safety.config.locations import known_folder
    from fedi_safety.detectors.known.examples import check
    from fedi_safety.known.catalog import Catalog

    folder = known_folder(settings)
    with Catalog(folder) as catalog:
        gone = missing(settings)
        lists, damage = catalog.lists(), catalog.verify() if gone is None else (gone,)
    if damage:
        yield Finding("known images", False, damage[0].line(), damage[0].exit_code)
    else:
        named = ", ".join(f"{known.name} ({known.effect.value})" for known in lists)
        yield Finding("known images", True if lists else None, f"{folder}: {named}" if lists else "no list is imported")
    if wrong := check():
        yield Finding("known images", False, "; ".join(wrong), ExitCode.SELF_TEST)


def _copies(settings: Settings) -> Iterator[Finding]:
    """Look whether a copy descriptor is configured, and whether it finds a part of a drawn picture."""
    from fedi_safety.app.engine import open_describer
    from fedi_safety.detectors.known.examples import check_near
    from fedi_safety.detectors.sessions.devices import choose_device

    describer = open_describer(settings, choose_device(settings.device))
    if describer is None:
        yield Finding("copies", None, "cropped ones are not looked for: `known.near` names no copy descriptor")
    elif wrong := check_near(describer):
        yield Finding("copies", False, f"{describer.model}: {'; '.join(wrong)}", ExitCode.SELF_TEST)
    else:
        yield Finding("copies", True, f"looked for by {describer.model}, within {describer.distance} of 512 bits")


def _sharing(settings: Settings) -> Iterator[Finding]:
    """Look whether the own list is signed for a while yet, and how the publishers were read; nobody is asked."""
    import time

    from fedi_safety.app.sharing.publishing import open_log
    from fedi_safety.app.sharing.subscribing import standings
    from fedi_safety.cli.hashes.words import day, number_of
    from fedi_safety.sharing.log import HEAD_S

    state = open_log(settings).state()
    if state is not None:
        fresh = state.expires - time.time() > HEAD_S / 4
        remedy = "" if fresh else f"; {hint('hashes publish')} signs it anew, and wants to be called daily"
        text = f"{state.name}: change {state.seq:,}, signed until {day(state.expires)}{remedy}"
        yield Finding("own shared list", fresh, text, ExitCode.DONE if fresh else ExitCode.USAGE)
    for each in standings(settings):
        text = (
            f"{each.publisher.name}: {number_of(each.in_force, 'entry', 'entries')} in force, {len(each.held):,} held"
        )
        if each.publisher.failure:
            refused = f"{text}; the last time it was refused: {each.publisher.failure}"
            yield Finding("publisher", False, refused, ExitCode.OUTSIDE)
        else:
            yield Finding("publisher", True, text)


def _notify(settings: Settings) -> Iterator[Finding]:
    """Look whether every address can be one, every hook be run, and all was told. Nobody is asked."""
    import os

    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.notices.channels import checked
    from fedi_safety.core.notices.transitions import Transition

    lines = checked(settings)
    if not lines:
        yield Finding("notify", None, "nobody is told when something happens; set `notify.urls` (docs/notify.md)")
        return
    for transition in Transition:
        command = settings.hooks.command(transition)
        if command and not os.access(command[0], os.X_OK):
            cause = f"hooks.on_{transition.value}: {command[0]} cannot be run"
            yield Finding("notify", False, f"{cause}; check its name and rights", ExitCode.USAGE)
    records = open_settings_ledger(settings)
    try:
        figures = {each.name: each for each in records.notice_figures()}
    finally:
        records.dispose()
    for line in lines:
        each = figures.pop(line.channel.name, None)
        late = each is not None and each.late
        text = each.line() if each is not None and late else f"{line.channel.name}: {hint('notify test')} tries it"
        yield Finding("notify", not late, text, ExitCode.OUTSIDE if late else ExitCode.DONE)
    for each in figures.values():
        if each.waiting:
            yield Finding("notify", None, f"{each.line()}; it is not configured any more")


def _sources(settings: Settings) -> Iterator[Finding]:
    """Look at each source that lists are fetched from: its credentials, and how its fetches went. Nothing is asked."""
    from fedi_safety.app.known.figures import source_figures
    from fedi_safety.app.known.sources import sources_of

    sources = sources_of(settings)
    for source, found in zip(sources, source_figures(settings), strict=False):
        thing = f"source {source.name}"
        try:
            source.credentials()
        except FediSafetyError as error:
            yield Finding(thing, False, error.line(), error.exit_code)
            continue
        ok = None if found.fetched_s is None and not found.failures else not (found.failures or found.late)
        late = f"; that is long ago: does {hint('watch')} run?" if found.late and not found.failures else ""
        yield Finding(thing, ok, found.line() + late, ExitCode.DONE if ok is not False else ExitCode.OUTSIDE)


def _upstreams(settings: Settings) -> Iterator[Finding]:
    """Look whether each server behind the gate answers, and who sees what does not come in through the gate."""
    from fedi_safety.gate.proxy.kinds import KINDS
    from fedi_safety.gate.proxy.upstreams import answers, check

    check(settings.gate)
    for name, upstream in settings.gate.upstream.items():
        problem = answers(upstream.url)
        said = f"{upstream.kind} at {upstream.url}, port {upstream.port}: {problem or 'it answers'}"
        yield Finding(f"upstream {name}", not problem, said, ExitCode.OUTSIDE if problem else ExitCode.DONE)
        unseen = ", ".join(KINDS[upstream.kind].unseen)
        yield Finding(f"upstream {name}", None, f"the gate does not see {unseen}; {_who_sees_it(settings)}")


def _who_sees_it(settings: Settings) -> str:
    """Say whether `watch` sees what ends in the store by other ways than through the gate."""
    from datetime import UTC, datetime

    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.stores import upload_store
    from fedi_safety.stores import canonical_url

    target = upload_store(settings)
    if target is None:
        return "nor does anybody else: no store is configured; set gate.store"
    records = open_settings_ledger(settings, readonly=True)
    try:
        mark = records.watermark(canonical_url(target.url, target.settings))
    finally:
        records.dispose()
    if mark is None:
        return f"nor does {command('watch {}', target.name)}, which never passed over the store with this ledger"
    last = datetime.fromtimestamp(mark.high_water, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{command('watch {}', target.name)} does, up to {last}"


def _decoder(settings: Settings) -> Iterator[Finding]:
    from fedi_safety.app.engine import caps
    from fedi_safety.core.testcard import draw_test_card
    from fedi_safety.media import SandboxDecoder
    from fedi_safety.media.protocol import LANDLOCK_PROTECTION

    decoder = SandboxDecoder(caps(settings), 1)
    try:
        card = draw_test_card()
        decoded = decoder.decode(card, decoder.sniff(card[:4096]))
        yield Finding("decoder", True, f"{decoder.version}; the test card is {decoded.width}x{decoded.height}")
        protections = decoder.protections()
        held = "; ".join(name for name, active in protections.items() if active)
        lacking = [name for name, active in protections.items() if not active]
        if LANDLOCK_PROTECTION in lacking:
            lacking.remove(LANDLOCK_PROTECTION)
            held += f" (NOT: {LANDLOCK_PROTECTION}; this kernel has no Landlock)"
        if lacking:
            yield Finding("decoder processes", False, f"protections that are NOT active: {'; '.join(lacking)}")
        else:
            yield Finding("decoder processes", True, f"confined: {held}")
    finally:
        decoder.close()
