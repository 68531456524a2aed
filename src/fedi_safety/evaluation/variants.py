"""Compares a model's variants with its original: on pictures, under the concepts and the policy in force.

It loads every network involved at once and keeps no picture. What to do about the result is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from fedi_safety.config.schema import Settings
from fedi_safety.core.policy import Policy, judge
from fedi_safety.core.policy.reading import strength
from fedi_safety.core.types import Frame, Signal
from fedi_safety.evaluation.agreement import Agreement, Decision, compare
from fedi_safety.service.cpus import cpu_count

_AT_ONCE = 8


def compare_variants(
    settings: Settings,
    model: Path,
    variants: Sequence[str],
    frames: Iterable[Frame],
    policy: Policy,
    done: Callable[[int], None],
) -> dict[str, Agreement]:
    """Return by variant how it agreed; `done` is told how many pictures more were compared.

    Raises `ModelError`, `UsageError`, `ConfigError` or `DeviceError`, and what `frames` raises.
    """
    import numpy as np

    from fedi_safety.concepts.reading import load_concepts
    from fedi_safety.detectors.clip import cache_dir
    from fedi_safety.detectors.clip.detector import ClipConcepts
    from fedi_safety.detectors.clip.folder import plan_model
    from fedi_safety.detectors.clip.towers import VisualTower
    from fedi_safety.detectors.sessions.devices import choose_device
    from fedi_safety.models.folder import FULL

    device, threads = choose_device(settings.device), cpu_count()
    concepts = load_concepts(settings.clip.concepts)
    plans = [plan_model(model, device, precision) for precision in (FULL, *variants)]
    shares = concepts.sharer(ClipConcepts(plans[0], concepts, threads, cache_dir()).text_embeddings())
    towers = [VisualTower(plan, device, threads, batch=settings.clip.batch) for plan in plans]
    try:
        vectors = [[np.empty((0, tower.dim), np.float32)] for tower in towers]
        for part in _parts(frames):
            for tower, found in zip(towers, vectors, strict=True):
                found.append(tower.embed(part))
            done(len(part))
    finally:
        for tower in towers:
            tower.close()
    original, *others = (np.concatenate(found) for found in vectors)
    decide = decider(policy, concepts.signals)
    return {name: compare(original, other, shares, decide) for name, other in zip(variants, others, strict=True)}


def decider(policy: Policy, signals: Sequence[str]) -> Callable[[Sequence[float]], Decision]:
    """Return what tells, from these signals alone, the verdict and which thresholds are reached."""

    def decide(values: Sequence[float]) -> Decision:
        given = dict(zip(signals, values, strict=True))
        known = {name: Signal(value) for name, value in given.items()}
        reached = {
            f"{rule.name}: {factor}"
            for rule in policy.rules
            for factor, threshold in rule.when.items()
            if strength(policy, factor, given) >= threshold
        }
        judgement = judge(policy, known)
        return Decision(f"{judgement.verdict.value} {' '.join(sorted(judgement.labels))}", frozenset(reached))

    return decide


def _parts(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    stream = iter(frames)
    while part := list(islice(stream, _AT_ONCE)):
        yield part
