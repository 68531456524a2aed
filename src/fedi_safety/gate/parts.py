"""What the gate's endpoints work with, put together by `service`: data alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import BaseRoute

from fedi_safety.config.schema import Gate
from fedi_safety.core.enums import MediaType
from fedi_safety.gate.admission import Admission
from fedi_safety.gate.backlog.backlog import Backlog
from fedi_safety.gate.backlog.likeness import Likenesses
from fedi_safety.gate.backlog.writer import LedgerWriter
from fedi_safety.gate.in_hand import UploadsInHand
from fedi_safety.gate.memory import Memory
from fedi_safety.gate.tally import Tally
from fedi_safety.judging import metrics
from fedi_safety.judging.engine import EngineJudge
from fedi_safety.judging.types import Judge

_RECORD_S = 3.0


@dataclass(slots=True)
class Parts:
    """What the endpoints work with."""

    gate: Gate
    admission: Admission
    judge: Judge
    engine: EngineJudge | None
    writer: LedgerWriter
    backlog: Backlog
    metrics: metrics.Metrics
    memory: Memory
    likenesses: Likenesses
    sniff: Callable[[bytes], MediaType]
    more_routes: list[BaseRoute] = field(default_factory=list)
    description: dict[str, Any] = field(default_factory=dict)
    page: str = ""
    tally: Tally = field(default_factory=Tally)
    in_hand: UploadsInHand = field(default_factory=UploadsInHand)
    stopping: bool = False
    late_sources: Callable[[], bool] = lambda: False  # whether a source of a list was not read for too long
    late_notices: Callable[[], bool] = lambda: False  # whether the operator is not told of everything
    record_s: float = field(init=False)  # of an upload's deadline, for writing it down where it waits

    def __post_init__(self) -> None:
        """Leave most of the deadline to the judges."""
        self.record_s = min(_RECORD_S, self.gate.deadline_s / 4)
