"""What the driver of a sweep and its workers say to each other: plain data, of which nothing is ever media (I1)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fedi_safety.config.schema import Settings
from fedi_safety.core import errors
from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import FediSafetyError, StoreError, SweepError
from fedi_safety.core.keys import KeyRange
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.policy import Policy
from fedi_safety.core.runs import ScanRequest, Tally
from fedi_safety.core.types import Object, Unscanned


@dataclass(frozen=True, slots=True)
class Place:
    """Where one worker runs: a machine of the cluster, with so many of its processors, or one of its GPUs."""

    id: str
    machine: str  # as the cluster names it
    host: str  # as people do
    cpus: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Named:
    """What a pass judges by. A worker at which any of it is otherwise is refused."""

    policy: str  # the id of the policy as it is in force
    detectors: Mapping[str, str]  # their versions, with the weights' digests
    lists: str  # a digest of the lists of known images


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told once: the pass that it works for."""

    store: str
    settings: Settings
    request: ScanRequest
    policy: Policy
    named: Named
    run: int
    last_row: int | None  # of the objects that the ledger had when the pass began; None where it is not over all
    samples: tuple[Object, ...]  # a few objects of the store, of which it must find one
    folder: str  # what relative paths of the configuration are relative to


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the store's keys, and how much of it one task judges. What is left of it comes back."""

    within: KeyRange
    parted: bool = True  # False: of a store that cannot be parted, so that it is all of it
    most: int = 10_000  # objects; the numbers of their rows are few enough for Ray to carry them in the answer itself
    seconds: float = 60.0  # for which it lists on


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is said from one process to another."""

    kind: str
    thing: str
    cause: str
    remedy: str

    @classmethod
    def of(cls, error: FediSafetyError) -> Failure:
        """Return what an error says. Its kind is the nearest one that every process knows: adapters have their own."""
        known = (kind.__name__ for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)
        return cls(next(known), error.thing, error.cause, error.remedy)

    @property
    def error(self) -> FediSafetyError:
        """The error again, of the same class where it has one that takes these words."""
        kind = getattr(errors, self.kind, SweepError)
        kind = kind if isinstance(kind, type) and issubclass(kind, FediSafetyError) else SweepError
        try:
            return kind(self.thing, self.cause, self.remedy)
        except TypeError:
            return SweepError(self.thing, self.cause, self.remedy)

    @property
    def of_store(self) -> bool:
        """Whether it is the store that failed."""
        return isinstance(self.error, StoreError)


@dataclass(frozen=True, slots=True)
class Opened:
    """A worker's first answer: that it is ready, with what it judges, or why it cannot take part."""

    device: str = ""
    refusal: Failure | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A line of a worker's log, to be logged where somebody reads it."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one task. All of it is recorded where there is no `failure`; else it is to be done again."""

    rest: KeyRange | None  # what was not listed any more
    tally: Tally
    met: bytes = b""  # numbers of rows of the ledger, as `numbers` gives them back
    adopted: bytes = b""
    closed: tuple[str, ...] = ()
    crowded: bool = False
    plans: bytes = b""
    stages: Mapping[str, float] = field(default_factory=dict)
    said: tuple[Said, ...] = ()
    failure: Failure | None = None


def packed(numbers: Iterable[int]) -> bytes:
    """Return numbers of rows as bytes."""
    return array("q", numbers).tobytes()


def numbers(data: bytes) -> array[int]:
    """Return the numbers that `packed` packed."""
    found: array[int] = array("q")
    found.frombytes(data)
    return found


@dataclass(slots=True)
class PartCensus(Census):
    """What one part of a pass over all of a store met: row by row, for the census of the whole."""

    rows: list[int] = field(default_factory=list)
    adopted_rows: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Hold no bit of any row: there are as many as the store has objects."""
        self._bits = bytearray()

    def meet(self, known: Iterable[int], adopted: Iterable[int] = (), others: Iterable[int] = ()) -> None:  # noqa: ARG002
        """Note which rows were met; those that nothing is concluded of are left out."""
        self.rows += (row for row in known if row <= self.last)
        self.adopted_rows += (row for row in adopted if row <= self.last)


def met(census: Census, part: Part) -> None:
    """Note in the census of a whole pass what a part of it met."""
    census.meet(numbers(part.met), numbers(part.adopted))
    for directory in part.closed:
        if directory not in census.closed:
            census.note(Unscanned(Object(directory, 0, 0), Reason.UNREADABLE, ""))
    census.crowded = census.crowded or part.crowded
