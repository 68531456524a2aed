"""Tracers and owners of files for tests: they answer as they are told, and remember what they were asked."""

from __future__ import annotations

from collections.abc import Callable

from fedi_safety.core.sightings import Certainty, Names, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.core.types import Object

SEEN = Sighting(
    SightingKind.POST,
    SightingWay.DATABASE,
    Certainty.CERTAIN,
    url="https://social.example/post/1",
    person="@them@far.example",
    instance="far.example",
    local=False,
)


class FakeTracer:
    """Answers with `answer`, which may raise or hang."""

    name = "fake at social.example"

    def __init__(self, answer: Callable[[Subject], Traced] = lambda _subject: Traced((SEEN,))) -> None:
        self.answer = answer
        self.asked: list[Subject] = []
        self.closed = 0

    def trace(self, subject: Subject, *, within_s: float) -> Traced:
        assert within_s > 0
        self.asked.append(subject)
        return self.answer(subject)

    def close(self) -> None:
        self.closed += 1


class FakeOwner:
    """Knows every file by one alias, made from its key."""

    name = "fake owner"

    def __init__(self, answer: Callable[[Object], Names] | None = None) -> None:
        self.answer = answer or (lambda obj: Names((f"alias-of-{obj.key}",), ("https://far.example/1.png",)))
        self.asked: list[str] = []

    def names(self, obj: Object, sha256: bytes) -> Names:
        assert len(sha256) == 32
        self.asked.append(obj.key)
        return self.answer(obj)
