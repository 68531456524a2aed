"""`show`: everything the ledger knows about one object or content. Never the picture itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import Shell, shell, write_json
from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedi_safety.core.ledger.records import PastJudgement, Shown
    from fedi_safety.core.sealing.copies import Seal
    from fedi_safety.core.sightings import TraceRecord
    from fedi_safety.core.types import Explanation, Signal

_TRACED = "traced"


def show(
    key: Annotated[str, typer.Argument(help="An object's key, its path, or a content's SHA-256.")],
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Show all that is known of one object: verdicts, scores, detectors, plans, actions and events."""
    from fedi_safety.app.ledger import open_settings_objects
    from fedi_safety.cli.text.lookup import find

    sh = shell(config, ledger, log_level, quiet, yes)
    records = open_settings_objects(sh.settings)
    try:
        found = find(records, key)
        sealed = [] if found.sha256 is None else records.seals(sha256=found.sha256)
    finally:
        records.dispose()
    pressed = _by_hand(sh, found)
    if json_output:
        write_json(_as_json(found) | {"by_hand": pressed, "sealed": _copies(sealed, json=True)})
    else:
        for line in [*_lines(found), *_copies(sealed), *(f"by hand: {line}" for line in pressed)]:
            typer.echo(printable(line))
    return 0


def _copies(sealed: Sequence[Seal], *, json: bool = False) -> list[Any]:
    """Return what is told of sealed copies: a line each, or an object."""
    if not sealed:
        return []
    from fedi_safety.cli.sealed.copies import as_json, line

    return [as_json(seal) if json else line(seal) for seal in sealed]


def _by_hand(sh: Shell, found: Shown) -> list[str]:
    """Return what a person is to press where the server has no call for it, of what is condemned."""
    condemned = bool(found.judgements) and found.judgements[-1].judgement.verdict is Verdict.BLOCK
    if not condemned or found.dismissal is not None:
        return []
    from fedi_safety.app.tracing import by_hand

    return by_hand(sh.settings, found.traces)


def _as_json(found: Shown) -> dict[str, Any]:
    from fedi_safety.cli.text.lookup import action_json, iso_time, reason_json, row_json, trace_json, upload_json
    from fedi_safety.reports.findings import explanation_json, unexplained

    return {
        "sha256": None if found.sha256 is None else found.sha256.hex(),
        "media_type": found.media_type,
        "width": found.width,
        "height": found.height,
        "frames": found.frames,
        "total_frames": found.total,
        "partly": found.partly,
        "detectors": found.detectors,
        "dismissal": found.dismissal,
        "objects": [row_json(row) for row in found.rows],
        "judgements": [
            {
                "at": iso_time(past.at),
                "run": past.run,
                "verdict": past.judgement.verdict.value,
                "policy": past.judgement.policy,
                "labels": list(past.judgement.labels),
                "reasons": [reason_json(hit) for hit in past.judgement.reasons],
                "signals": None if past.signals is None else {n: asdict(s) for n, s in sorted(past.signals.items())},
                "detectors": past.detectors,
            }
            for past in found.judgements
        ],
        "explanation": explanation_json(found),
        "unexplained": unexplained(found),
        "plans": found.plans,
        "acts": found.acts,
        "traces": [trace_json(record) for record in found.traces],
        "uploads": [upload_json(upload) for upload in found.uploads],
        "actions": [action_json(action) for action in found.actions],
        "confirmation": None
        if (said := found.confirmation) is None
        else {"at": iso_time(said.at), "by": said.by, "reason": said.reason},
        "events": [{"seq": e.seq, "at": iso_time(e.at), "kind": e.kind, "payload": e.payload} for e in found.events],
    }


def _lines(found: Shown) -> list[str]:
    from fedi_safety.cli.text.lookup import action_line, iso_time, upload_lines
    from fedi_safety.reports.findings import explanation_lines

    lines = []
    for row in found.rows:
        said = row.verdict.value if row.verdict else f"{row.unscanned or row.skipped or ''} {row.detail}".strip()
        lines.append(f"{row.store}  {row.key}")
        lines.append(f"  state {row.state}, {said}" + (f", labels {', '.join(row.labels)}" if row.labels else ""))
    if found.sha256 is not None:
        lines.append(f"sha256 {found.sha256.hex()}")
    if found.media_type is not None:
        of = f" of {found.total}" if found.total and found.total > 1 else ""
        lines.append(f"{found.media_type}, {found.width}x{found.height}, frames judged {found.frames}{of}")
    if found.partly is not None:
        lines.append(f"judged in part: {found.partly}")
    if found.dismissal is not None:
        lines.append(f"dismissed: {found.dismissal or 'no reason given'}")
    for past in found.judgements:
        lines += _judgement(past, found.explanation, in_force=past is found.judgements[-1])
    last = found.judgements[-1] if found.judgements else None
    if found.rows and (last is None or last.signals is None):
        lines += _scores(found.rows[0].signals)
    lines += explanation_lines(found)
    told = [event for event in found.events if event.kind != _TRACED]  # whose attempts stand below
    lines += [f"{iso_time(e.at)}  event {e.seq} {e.kind} {_brief(e.payload)}".rstrip() for e in told]
    for upload in found.uploads:
        lines += upload_lines(upload)
    lines += _traces(found)
    for act in found.acts:
        lines += _receipt(act)
    if (word := found.confirmation) is not None:
        lines.append(f"{iso_time(word.at)}  confirmed by {word.by}{f': {word.reason}' if word.reason else ''}")
    return lines + [action_line(action) for action in found.actions]


def _judgement(past: PastJudgement, explanation: Explanation | None, *, in_force: bool) -> list[str]:
    """Return one judgement with its reasons; of that in force also what each factor rests on."""
    from fedi_safety.cli.text.lookup import iso_time
    from fedi_safety.core.wording.reasons import reason_text
    from fedi_safety.reports.findings import basis_lines

    lines = [f"{iso_time(past.at)}  {past.judgement.verdict.value} under {past.judgement.policy}"]
    for hit in past.judgement.reasons:
        lines.append(f"    {reason_text(hit)}")
        if in_force and explanation is not None:
            lines += basis_lines(hit.factors, explanation)
    if past.signals is not None:
        lines += _scores(past.signals)
    return lines + [f"    by {name}: {version}" for name, version in sorted(past.detectors.items())]


def _traces(found: Shown) -> list[str]:
    """Return the attempts to trace it, oldest first; of those that failed alike in a row, the last."""
    from fedi_safety.cli.text.lookup import iso_time, sighting_lines, trace_text

    several = len({(record.subject.store, record.subject.key) for record in found.traces}) > 1
    lines = []
    for alike, last in _runs_of_traces(found.traces):
        named = f"{last.subject.key or last.subject.url or ''}  " if several else ""
        times = f" ({alike} times alike)" if alike > 1 else ""
        lines.append(f"{iso_time(last.at)}  {named}{trace_text(last)}{times}")
        lines += [f"    {line}" for line in sighting_lines(last)]
    return lines


def _runs_of_traces(traces: list[TraceRecord]) -> list[tuple[int, TraceRecord]]:
    """Return how many attempts in a row ended alike, and the last of them, for each such row."""
    from itertools import groupby

    def ending(record: TraceRecord) -> tuple[object, ...]:
        why = "" if record.state.open else record.detail  # such as after how many seconds it gave up
        return (record.subject, record.server, record.state, why, record.sightings)

    rows = [list(row) for _, row in groupby(traces, key=ending)]
    return [(len(row), row[-1]) for row in rows]


def _receipt(act: dict[str, Any]) -> list[str]:
    """Return what an action learnt, such as the aliases that pict-rs has forgotten since."""
    if not act["receipt"]:
        return []
    lines = [
        f"    {name} {value if isinstance(value, str) else ' '.join(value)}"
        for name, value in sorted(act["receipt"].items())
    ]
    return [f"action {act['id']} of plan {act['plan_id']}, {act['outcome']}:", *lines]


def _scores(signals: dict[str, Signal]) -> list[str]:
    """Return each signal with where it is from: of lists the entries too, also those that hold others back."""
    return [
        f"    {name} = {signal.value:.4f} ({', '.join((_where(signal), *(match.text for match in signal.matches)))})"
        for name, signal in sorted(signals.items())
    ]


def _where(signal: Signal) -> str:
    return signal.where or f"frame {signal.frame}"


def _brief(payload: dict[str, Any]) -> str:
    """Return what in an event tells one from another."""
    wanted = ("run", "plan", "verdict", "policy", "outcome", "reason", "detail")
    return ", ".join(f"{name} {payload[name]}" for name in wanted if payload.get(name) not in (None, ""))
