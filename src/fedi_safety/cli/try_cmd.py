"""`try`: what the policy says of one file or object, with all that it rests on. Writes nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.options import (
    ConceptsOption,
    ConfigOption,
    DetectorsOption,
    DeviceOption,
    JsonOption,
    LedgerOption,
    LogLevelOption,
    PolicyOption,
    PrecisionOption,
    QuietOption,
    YesOption,
)
from fedi_safety.cli.shell import shell, write_json
from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import ExitCode

if TYPE_CHECKING:
    from fedi_safety.core.policy import Policy, Rule
    from fedi_safety.core.types import Judged, Signal
    from fedi_safety.evaluation.trial import Trial

_MISSING = "not measured"


def try_object(
    file: Annotated[str, typer.Argument(metavar="FILE|URL", help="A file, or the URL of an object in a store.")],
    detectors: DetectorsOption = None,
    policy: PolicyOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    concepts: ConceptsOption = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Judge one file, and show every signal, factor and rule. It is not shown; nothing is written or removed."""
    from fedi_safety.app.stores import object_target
    from fedi_safety.cli.text.progress import waiting
    from fedi_safety.evaluation import trial
    from fedi_safety.policies import load_policy

    names = None if detectors is None else [name.strip() for name in detectors.split(",") if name.strip()]
    chosen = {"detectors": names, "policy": policy, "device": device, "precision": precision, "jobs": 1}
    sh = shell(config, ledger, log_level, quiet, yes, **chosen, clip={"concepts": concepts})
    in_file = load_policy(sh.settings.policy)
    target, key = object_target(sh.settings, file)
    store = target.open()
    try:
        with waiting("loading models", quiet=sh.quiet):
            found = trial.try_object(target.settings, store, key, in_file)
    finally:
        store.close()
    if json_output:
        write_json({"store": store.url, "key": key} | _as_json(found))
    else:
        for line in _lines(file, found):
            sh.say(line)
    reason = getattr(found.result, "reason", None)
    return ExitCode.DONE if reason is None or reason.skipped else ExitCode.UNSCANNED


def _lines(named: str, found: Trial) -> Iterator[str]:
    from fedi_safety.core.types import Unscanned
    from fedi_safety.reports.findings import found_lines

    if isinstance(found.result, Unscanned):
        reason = found.result.reason
        how = "skipped, for it is no media" if reason.skipped else "no verdict"
        yield f"{named}: {how}: {reason}{f' ({found.result.detail})' if found.result.detail else ''}"
        return
    content, judgement = found.result.content, found.result.judgement
    of = f" of {content.total}" if content.total > 1 else ""
    labels = f", label {', '.join(judgement.labels)}" if judgement.labels else ""
    yield f"{named}: {judgement.verdict.value}{labels}"
    yield f"  {content.media_type}, {content.width}x{content.height}, frames judged {content.frames}{of}"
    yield f"  sha256 {content.sha256.hex()}"
    if content.partly is not None:
        yield f"  judged in part: {content.partly}"
    yield f"rules of {found.policy.id}"
    yield from _rules(found.policy, found.result)
    signals = content.scores.signals
    yield "factors, by their signals"
    for factor, names in sorted(found.policy.factors.items()):
        most = found.policy.agree.get(factor, 1)
        yield f"  {factor}{f', as {most} of them agree' if most > 1 else ''}"
        yield from (f"    {line}" for line in _values(list(names), signals))
    if rest := sorted(set(signals).difference(*found.policy.factors.values())):
        yield "signals of no factor"
        yield from (f"    {line}" for line in _values(rest, signals))
    if content.scores.explanation is not None:
        yield from found_lines(content.scores.explanation)
    yield f"detectors, on {found.device}"
    yield from (f"  {name}: {version}" for name, version in sorted(found.detectors.items()))
    yield "nothing was written or removed"


def _rules(policy: Policy, result: Judged) -> Iterator[str]:
    """Yield each rule, whether it holds, and by what; the test card's own where it does."""
    from fedi_safety.core.wording.reasons import reason_text
    from fedi_safety.reports.findings import basis_lines

    explanation = result.content.scores.explanation
    hits = {hit.rule: hit for hit in result.judgement.reasons}
    for rule in policy.rules:
        hit = hits.pop(rule.name, None)
        yield f"  {'holds' if hit else '-':<6} {rule.name}"
        if hit is not None:
            yield from _wrapped(reason_text(hit).removeprefix(f"{hit.rule}: "))
            yield from (f"   {line}" for line in basis_lines(hit.factors, explanation))
        else:
            yield from _wrapped(f"needs {_needs(rule)}")
        yield from _wrapped(f"gives {_effect(rule)}")
    yield from (f"  holds  {reason_text(hit)}" for hit in hits.values())


def _effect(rule: Rule) -> str:
    said = [rule.verdict.value] if rule.verdict else []
    said += [f"label {rule.label}"] if rule.label else []
    for verdict, how in ((rule.across_frames, "across frames"), (rule.second_look, "by a second look alone")):
        if verdict not in (None, rule.verdict):
            said.append(f"{'nothing' if verdict is Verdict.CLEAR else verdict} {how}")
    return ", ".join(said)


def _wrapped(said: str) -> list[str]:
    indent = " " * 11
    return textwrap.wrap(said, 80, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)


def _needs(rule: Rule) -> str:
    return " and ".join(f"{factor} >= {threshold:g}" for factor, threshold in rule.when.items())


def _values(names: list[str], signals: dict[str, Signal] | Any) -> Iterator[str]:
    width = max(map(len, names), default=0)
    for name in names:
        signal = signals.get(name)
        if signal is None:
            yield f"{name:<{width}}  {_MISSING}"
            continue
        matches = "".join(f", {match.text}" for match in signal.matches)
        yield f"{name:<{width}}  {signal.value:.4f}  {signal.where or f'frame {signal.frame}'}{matches}"


def _as_json(found: Trial) -> dict[str, Any]:
    from fedi_safety.cli.text.lookup import reason_json
    from fedi_safety.core.types import Unscanned
    from fedi_safety.reports.findings import found_json

    policy = found.policy
    said: dict[str, Any] = {
        "policy": policy.id,
        "device": found.device,
        "detectors": dict(sorted(found.detectors.items())),
        "factors": {factor: list(names) for factor, names in sorted(policy.factors.items())},
    }
    if isinstance(found.result, Unscanned):
        reason = found.result.reason
        sides = (reason.value, None) if reason.skipped else (None, reason.value)
        return said | {"verdict": None, "skipped": sides[0], "unscanned": sides[1], "detail": found.result.detail}
    content, judgement = found.result.content, found.result.judgement
    holding = {hit.rule for hit in judgement.reasons}
    rules = [
        {"rule": r.name, "holds": r.name in holding, "when": dict(r.when), "effect": _effect(r)} for r in policy.rules
    ]
    return said | {
        "verdict": judgement.verdict.value,
        "labels": list(judgement.labels),
        "reasons": [reason_json(hit) for hit in judgement.reasons],
        "rules": rules,
        "signals": {name: asdict(signal) for name, signal in sorted(content.scores.signals.items())},
        "explanation": None
        if content.scores.explanation is None
        else found_json(content.scores.explanation, judgement),
        "unmeasured": sorted(policy.signals - set(content.scores.signals)),
        "sha256": content.sha256.hex(),
        "media_type": content.media_type.value,
        "width": content.width,
        "height": content.height,
        "frames": content.frames,
        "total_frames": content.total,
        "partly": content.partly,
    }
