"""`models fetch` without a name: what the configured model costs and adds, before anything is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fedi_safety.cli.shell import Shell
from fedi_safety.core.errors import UsageError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.config.schema import Settings
    from fedi_safety.models.names import KnownModel


def agreed(sh: Shell, models: Path) -> None:
    """Offer the configured model where it is not on record here, and ask. Raises `UsageError` for anything but yes."""
    from fedi_safety.models.names import known_model

    name = sh.settings.clip.model
    if on_record(sh.settings, models):
        return
    known = known_model(name)
    size = f" ({known.download_mb:,} MB)" if known else ""
    if not sh.yes and not sh.can_ask:
        cause = f"no model is named, and nobody can be asked about the configured one, {name}{size}"
        raise UsageError("models fetch", cause, f"give --yes, or name it: {hint('models fetch {}', name)}")
    if not sh.quiet:  # nothing is timed for nobody
        for line in offer(sh.settings):
            sh.say(line)
    sh.confirm(f"{name}{size} will be fetched from {sh.settings.clip.hub}", "give --yes, or name a model")


def on_record(settings: Settings, models: Path) -> bool:
    """Tell whether the configured model is on record here, fetched or imported."""
    from fedi_safety.models.lock import read_lock
    from fedi_safety.models.names import folder_name

    return folder_name(settings.clip.model) in read_lock(models)


def turn_on(settings: Settings, model: str) -> str:
    """Return how a model that is here comes to judge; nothing where it does."""
    from fedi_safety.detectors import concept_detectors

    keys = []
    if missing := [name for name in concept_detectors() if name not in settings.detectors]:
        names = ", ".join(f'"{name}"' for name in [*settings.detectors, *missing])
        keys.append(f"detectors = [{names}]")
    if model != settings.clip.model:
        keys.append(f'model = "{model}" under [clip]')
    return f"to use it, set in the configuration: {', and '.join(keys)}" if keys else ""


def offer(settings: Settings) -> Iterator[str]:
    """Yield what the configured model costs and adds here, a line each, its speed estimated at once."""
    from fedi_safety.config.schema import Clip
    from fedi_safety.models.names import known_model

    name = settings.clip.model
    known = known_model(name)
    default = "default" if name == Clip().model else "configured"
    yield f"{name}: the {default} model of the detector clip. It is not on record here."
    if known is None:
        yield "  size   not known before the hub is asked"
        yield f"  speed  not known before it is here; then {hint('doctor --speeds')} measures it"
    else:
        yield f"  size   {known.download_mb:,} MB to fetch, by its architecture"
        yield from _speed(settings, known)
    yield "  adds   a look at pictures without a face and at drawings, of which the embedded"
    yield "         detectors know little, and what you name in words of your own"
    rules, factors = _woken(settings)
    for rule in rules:
        yield f"         in {Path(settings.policy).stem}: {rule}"
    if factors:
        yield f"         a further opinion on: {', '.join(factors)}"
    yield "  trust  no digest of it comes with the program: its first fetch shows what the hub"
    yield "         states and ends; compare that, then fetch with --trust-first (docs/models.md)"


def _speed(settings: Settings, known: KnownModel) -> Iterator[str]:
    from fedi_safety.detectors.sessions.devices import choose_device
    from fedi_safety.evaluation.speed import TOWER_SHARE, estimated_seconds
    from fedi_safety.service.cpus import cpu_count

    device = choose_device(settings.device)
    if not device.on_processor:
        yield f"  speed  not estimated: on {device.name} only the network itself shows; {hint('doctor --speeds')}"
        return
    seconds, rate = estimated_seconds(known.gflop)
    yield f"  speed  about {seconds:.2g} s a picture on {cpu_count()} processor(s), as busy as now; estimated:"
    yield f"         {known.gflop} GFLOP a picture, and a matrix product timed just now reached"
    yield f"         {rate:,.0f} GFLOP/s in fp32, of which such a network reaches {TOWER_SHARE:.0%}".replace("%", " %")
    yield "         The cascade shows it only what the cheaper detectors leave open."


def _woken(settings: Settings) -> tuple[list[str], list[str]]:
    """Return the policy's rules that cannot hold without the detector, and the factors that it adds a signal to."""
    from fedi_safety.app.engine import measurable
    from fedi_safety.detectors import concept_detectors
    from fedi_safety.policies import load_policy

    policy = load_policy(settings.policy)
    others = [name for name in settings.detectors if name not in concept_detectors()]
    before = measurable(settings.model_copy(update={"detectors": others})).signals
    after = measurable(settings.model_copy(update={"detectors": [*others, *concept_detectors()]})).signals

    def measured(factor: str, signals: frozenset[str]) -> bool:
        return not signals.isdisjoint(policy.factors[factor])

    rules = [
        rule.name
        for rule in policy.rules
        if all(measured(f, after) for f in rule.when) and not all(measured(f, before) for f in rule.when)
    ]
    factors = [f for f in policy.factors if measured(f, before) and measured(f, after - before)]
    return rules, factors
