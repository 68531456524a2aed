"""Scores of objects sampled from a store, for calibration: the front half of a scan, over them alone.

It is given a store that can only be read and remembers nothing: no ledger is written, nothing is planned or removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from fedi_safety.app.engine import open_engine
from fedi_safety.app.ledger import SystemClock
from fedi_safety.config.schema import Settings
from fedi_safety.core.cascade import Cascade
from fedi_safety.core.nulls import NoMemory, ReadableSubset
from fedi_safety.core.pictures import seen
from fedi_safety.core.pipeline import Options, Pipeline
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Clock, Decoder, Detector, ReadableStore, Store
from fedi_safety.core.types import Judged, Signal, Unscanned
from fedi_safety.evaluation.sampling import Sampled


@dataclass(slots=True)
class Sample:
    """The signals of what could be scored, by key, and why the rest could not.

    `signals` are the highest over all frames; `pictures` has those of each picture, of what shows several.
    """

    store: str
    listed: int
    sampled: int
    signals: dict[str, Mapping[str, float]] = field(default_factory=dict)
    pictures: dict[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)  # no media
    unscanned: Counter[str] = field(default_factory=Counter)


def sample_scores(
    store: ReadableStore,
    decoder: Decoder,
    detectors: Sequence[Detector],
    policy: Policy,
    sampled: Sampled,
    options: Options,
    clock: Clock,
    *,
    on_start: Callable[[Pipeline], None] = lambda _pipeline: None,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> Sample:
    """Score the sampled objects with every detector whose signals some rule of the policy uses; no cascade.

    `on_start` is given the pipeline, so that it can be halted; `on_progress` how many objects are through.
    """
    pipeline = Pipeline(
        store=ReadableSubset(store, sampled.objects),
        decoder=decoder,
        cascade=Cascade(detectors, policy, enabled=False),
        ledger=NoMemory(),
        policy=policy,
        options=options,
        clock=clock,
    )
    sample = Sample(store.url, sampled.listed, len(sampled.objects))
    on_start(pipeline)
    done = 0
    with closing(pipeline.results()) as results:
        for batch in results:
            for result in batch:
                if isinstance(result, Judged):
                    scores, key = result.content.scores, result.object.key
                    sample.signals[key] = _values(scores.signals)
                    if pictures := seen(scores.signals, scores.frames).pictures:
                        sample.pictures[key] = [_values(picture.signals) for picture in pictures]
                elif isinstance(result, Unscanned):
                    counts = sample.skipped if result.reason.skipped else sample.unscanned
                    counts[result.reason.value] += 1
            done += len(batch)
            on_progress(done)
    return sample


def _values(signals: Mapping[str, Signal]) -> dict[str, float]:
    return {name: signal.value for name, signal in signals.items()}


def score_sample(
    settings: Settings,
    store: Store,
    policy: Policy,
    *,
    count: int,
    seed: int,
    on_start: Callable[[Pipeline, int], None],
    on_progress: Callable[[int], None],
) -> tuple[Policy, Mapping[str, str], Sample]:
    """Score objects of a store sampled by chance; return the policy in force, the detectors' versions and the scores.

    Nothing is written anywhere. `on_start` is also given how many objects were sampled.
    """
    from fedi_safety.evaluation.sampling import sample_objects
    from fedi_safety.evaluation.scores import sample_scores

    engine = open_engine(settings)
    try:
        sampled = sample_objects(store.list(), count, seed)
        in_force = engine.in_force(policy)
        options = Options(
            max_bytes=settings.limits.max_bytes,
            fetchers=max(store.concurrency, engine.jobs),
            decoders=engine.jobs,
            scorers=engine.jobs,
            max_batch=engine.media_at_once,
        )
        sample = sample_scores(
            store,
            engine.decoder,
            engine.detectors,
            in_force,
            sampled,
            options,
            SystemClock(),
            on_start=lambda pipeline: on_start(pipeline, len(sampled.objects)),
            on_progress=on_progress,
        )
        return in_force, {d.name: d.version for d in engine.detectors}, sample
    finally:
        engine.close()
