"""A report's figures for other programs: one JSON object, or CSV rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fedi_safety.core.errors import printable

if TYPE_CHECKING:
    from fedi_safety.app.known.figures import ListFigures, SourceFigures
    from fedi_safety.core.ledger.history import History
    from fedi_safety.core.ledger.notices import ChannelFigures
    from fedi_safety.core.ledger.records import StoreActs, StoreFigures
    from fedi_safety.core.ledger.uploads import UploadFigures
    from fedi_safety.reports.facts import Report

_VERDICTS = ("clear", "review", "block")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_json(found: Report) -> dict[str, Any]:
    """Return the report as one JSON object; its fields are a promise to scripts."""
    from fedi_safety.cli.text.sources import source_json
    from fedi_safety.core.ledger.records import BINS
    from fedi_safety.core.sightings import SourceKind
    from fedi_safety.reports.facts import sources_shown, summed
    from fedi_safety.reports.progress import progress_json

    stores = found.figures.stores
    media, judged = sum(s.media for s in stores), sum(s.judged for s in stores)
    acts = found.acts.values()
    return {
        "version": found.version,
        "generated_at": datetime.fromtimestamp(found.made_at, UTC).isoformat(timespec="seconds"),
        "ledger": found.ledger,
        "store": found.store,
        "stores": [_store_json(store, found.acts.get(store.store)) for store in stores],
        "totals": {
            "present": sum(s.present for s in stores),
            "judged": judged,
            "trusted": sum(s.trusted for s in stores),
            "partly": sum(s.partly for s in stores),
            "coverage": judged / media if media else None,
            "skipped": _sorted(summed(s.skipped for s in stores)),
            "unscanned": _sorted(summed(s.unscanned for s in stores)),
            "verdicts": _verdicts(summed(s.verdicts for s in stores)),
            "labels": _sorted(summed(s.labels for s in stores)),
            "removed": sum(s.removed for s in stores),
            "gone": sum(s.gone for s in stores),
            "history": sum(s.history for s in stores),
            "plans": _sorted(summed(a.plans for a in acts)),
            "open_plans": sum(a.open_plans for a in acts),
            "acts": _sorted(summed(a.acts for a in acts)),
            "failed_acts": sum(a.acts["failed"] for a in acts),
            "dismissed": found.figures.dismissed,
        },
        "period": None if found.history is None else _period_json(found.history, found.made_at),
        "under_way": [progress_json(one) for one in found.under_way],
        "gate": None if found.gate is None else _gate_json(found.gate),
        "sources": {by.value: [source_json(by, one) for one in sources_shown(found, by)[0]] for by in SourceKind},
        "lists": [_list_json(each) for each in found.lists],
        "notices": [_channel_json(each) for each in found.notices],
        "list_sources": [_list_source_json(each) for each in found.list_sources],
        "runs": found.figures.runs,
        "bins": BINS,
        "histograms": found.figures.histograms,
        "judged_by_day": found.figures.judged_by_day,
        "removed_by_day": found.figures.removed_by_day,
    }


def _list_json(found: ListFigures) -> dict[str, Any]:
    return {
        "name": found.name,
        "effect": found.effect.value,
        "entries": found.entries,
        "changed": datetime.fromtimestamp(found.changed_s, UTC).isoformat(timespec="seconds"),
        "hits": found.hits.contents,
        "confirmed": found.hits.confirmed,
        "dismissed": found.hits.dismissed,
    }


def _list_source_json(found: SourceFigures) -> dict[str, Any]:
    read = None if found.fetched_s is None else datetime.fromtimestamp(found.fetched_s, UTC)
    return {
        "name": found.name,
        "kind": found.kind,
        "read": None if read is None else read.isoformat(timespec="seconds"),
        "late": found.late,
        "failures": found.failures,
        "failure": found.failure,
        "calls": found.calls,
        "sent": found.sent,
    }


def _channel_json(found: ChannelFigures) -> dict[str, Any]:
    oldest, since = (
        None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
        for at in (found.oldest, found.failing_since)
    )
    return {
        "channel": found.name,
        "waiting": found.waiting,
        "given_up": found.given_up,
        "unconfirmed": found.unconfirmed,
        "oldest": oldest,
        "failing_since": since,
        "error": found.error,
    }


def _period_json(history: History, until: float) -> dict[str, Any]:
    first, last = (datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in (history.since, until))
    counts = asdict(history.total) | {"rules": _sorted(history.rules)}
    return {"since": first, "until": last} | counts


def _gate_json(gate: UploadFigures) -> dict[str, Any]:
    return {
        "judged": gate.judged,
        "blocked": gate.blocked,
        "refused": _sorted(gate.refused),
        "refused_day": gate.refused_day,
        "owed": _sorted(gate.owed),
        "condemned": gate.condemned,
        "held": _sorted(gate.held),
        "settled": _sorted(gate.settled),
        "unlike": _sorted(gate.unlike),
        "oldest_debt_at": None
        if gate.oldest_at is None
        else datetime.fromtimestamp(gate.oldest_at, UTC).isoformat(timespec="seconds"),
    }


def _store_json(store: StoreFigures, acts: StoreActs | None) -> dict[str, Any]:
    return {
        "store": store.store,
        "present": store.present,
        "judged": store.judged,
        "trusted": store.trusted,
        "partly": store.partly,
        "coverage": store.coverage if store.media else None,
        "skipped": _sorted(store.skipped),
        "unscanned": _sorted(store.unscanned),
        "verdicts": _verdicts(store.verdicts),
        "labels": _sorted(store.labels),
        "removed": store.removed,
        "gone": store.gone,
        "history": store.history,
        "plans": {} if acts is None else _sorted(acts.plans),
        "open_plans": 0 if acts is None else acts.open_plans,
        "acts": {} if acts is None else _sorted(acts.acts),
        "failed_acts": 0 if acts is None else acts.acts["failed"],
        "breaker": store.breaker,
        "actions": _sorted(store.actions),
        "action_breaker": store.action_breaker,
    }


def _sorted(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}


def _verdicts(counts: dict[str, int]) -> dict[str, int]:
    return {verdict: counts.get(verdict, 0) for verdict in _VERDICTS}


def csv_rows(found: Report) -> Iterator[tuple[str, str, str, str]]:
    """Yield `store,figure,name,value`; `name` is empty unless the figure has several values.

    `store` is empty for the gate's figures, and for sources unless the report is of one store.
    """
    from fedi_safety.core.sightings import SourceKind
    from fedi_safety.reports.facts import sources_shown
    from fedi_safety.reports.progress import progress_json

    yield ("store", "figure", "name", "value")
    for store in found.figures.stores:
        yield from _csv_figures(store.store, _store_json(store, found.acts.get(store.store)))
    for one in found.under_way:
        told = {name: value for name, value in progress_json(one).items() if name != "store"}
        yield from _csv_figures(one.store, {"under way": told})
    if found.history is not None:
        period = _period_json(found.history, found.made_at)
        yield from _csv_figures(found.store or "", {f"period {figure}": value for figure, value in period.items()})
    if found.gate is not None:
        gate = _gate_json(found.gate)
        yield from _csv_figures("", {f"gate {figure}": value for figure, value in gate.items()})
    for each in found.lists:
        hits = {"hits": each.hits.contents, "confirmed": each.hits.confirmed, "dismissed": each.hits.dismissed}
        yield from _csv_figures("", {f"list {figure}": {each.name: count} for figure, count in hits.items()})
    for source in found.list_sources:
        told = {"failures": source.failures, "calls": source.calls, "sent": source.sent}
        yield from _csv_figures("", {f"list source {figure}": {source.name: count} for figure, count in told.items()})
    for by in SourceKind:
        counts = {source.name: source.contents for source in sources_shown(found, by)[0]}
        yield from _csv_figures(found.store or "", {f"condemned by {by.value}": counts})


def _csv_figures(store: str, figures: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for figure, value in figures.items():
        if figure == "store":
            continue
        named = value if isinstance(value, dict) else {"": value}
        for name, one in named.items():
            yield (cell(store), figure, cell(name), cell("" if one is None else str(one)))


def cell(value: str) -> str:
    """Return a text that no spreadsheet takes for a formula and any terminal can show."""
    shown = printable(value)
    return f"'{shown}" if value.lstrip(" ").startswith(_FORMULA_STARTS) else shown
