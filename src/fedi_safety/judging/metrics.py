"""What the gate counts and measures, for Prometheus. Names are a promise (docs/api.md); it decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0)
_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 32)
_BYTES = (1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26)
_PREFIX = "fedi_safety_gate"


@dataclass(slots=True)
class Metrics:
    """One gate's figures, in a registry of their own: two gates in one process do not mix."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    answers: Counter = field(init=False)
    seconds: Histogram = field(init=False)
    refusals: Counter = field(init=False)
    upload_bytes: Histogram = field(init=False)
    batch: Histogram = field(init=False)
    stages: Counter = field(init=False)
    ledger_failures: Counter = field(init=False)
    upstream_requests: Counter = field(init=False)
    upstream_seconds: Histogram = field(init=False)

    def __post_init__(self) -> None:
        """Register what is counted as it happens."""
        r = self.registry
        self.answers = Counter(
            f"{_PREFIX}_answers",
            "Uploads answered, by verdict (clear, review, block, none), reason, judge and what was said.",
            ("verdict", "reason", "by", "said"),
            registry=r,
        )
        self.seconds = Histogram(
            f"{_PREFIX}_answer_seconds",
            "From the request to its answer.",
            ("verdict",),
            buckets=_SECONDS,
            registry=r,
        )
        self.refusals = Counter(f"{_PREFIX}_errors", "Requests that got an error, by its code.", ("code",), registry=r)
        self.upload_bytes = Histogram(f"{_PREFIX}_upload_bytes", "Sizes of uploads.", buckets=_BYTES, registry=r)
        self.batch = Histogram(
            f"{_PREFIX}_batch_size", "Uploads that one call of the engine judged.", buckets=_BATCHES, registry=r
        )
        self.stages = Counter(
            f"{_PREFIX}_stage_seconds", "Seconds that threads spent in each stage of judging.", ("stage",), registry=r
        )
        self.ledger_failures = Counter(f"{_PREFIX}_ledger_failures", "Failed writes to the ledger.", registry=r)
        self.upstream_requests = Counter(
            f"{_PREFIX}_upstream_requests",
            "Requests on their way to a server, by what became of them.",
            ("upstream", "outcome"),
            registry=r,
        )
        self.upstream_seconds = Histogram(
            f"{_PREFIX}_upstream_seconds",
            "From such a request to the beginning of the server's answer.",
            ("upstream",),
            buckets=_SECONDS,
            registry=r,
        )

    def became(self, upstream: str, outcome: str) -> None:
        """Count a request on its way to a server by what became of it."""
        self.upstream_requests.labels(upstream, outcome).inc()

    def answered(self, upstream: str, seconds: float) -> None:
        """Measure how long a server took to begin its answer."""
        self.upstream_seconds.labels(upstream).observe(seconds)

    def failed(self, code: str) -> None:
        """Count an error by its code."""
        self.refusals.labels(code).inc()

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a figure that is read when somebody asks."""
        Gauge(f"{_PREFIX}_{name}", text, registry=self.registry).set_function(read)

    def labelled(self, name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        """Return a figure with labels, which is set when something is known of it."""
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def by_label(self, name: str, text: str, label: str, read: Callable[[str], float], values: tuple[str, ...]) -> None:
        """Add a figure for each of these values of a label, read when somebody asks."""
        gauge = Gauge(f"{_PREFIX}_{name}", text, (label,), registry=self.registry)
        for value in values:
            gauge.labels(value).set_function(partial(read, value))

    def page(self) -> bytes:
        """Return the page that Prometheus reads."""
        return generate_latest(self.registry)
