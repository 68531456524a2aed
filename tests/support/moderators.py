"""Moderators for tests: servers of two lists, what is so and what is gone, which remember what was asked of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fedi_safety.core.moderation import AppAction, Offer, Standing, TargetKind, Where

OFFERS = (
    Offer("report", TargetKind.POST),
    Offer("remove_post", TargetKind.POST),
    Offer("ban", TargetKind.PERSON),
    Offer("domain_block", TargetKind.INSTANCE, Where.REMOTE),
)


@dataclass
class FakeModerator:
    """Does what it is told at once; `before` is called ahead of every doing, and may raise."""

    name: str = "fake at social.example"
    so: set[tuple[str, str]] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    done: list[tuple[str, str]] = field(default_factory=list)
    read: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[AppAction], None] = lambda _action: None
    idle: bool = False  # says that it did, and does nothing

    def standing(self, action: AppAction, *, within_s: float) -> Standing:
        assert within_s > 0
        self.read.append((action.action, action.target_id))
        if action.target_id in self.gone:
            return Standing.GONE
        return Standing.SO if (action.action, action.target_id) in self.so else Standing.OPEN

    def perform(self, action: AppAction, *, within_s: float) -> None:
        assert within_s > 0
        self.before(action)
        self.done.append((action.action, action.target_id))
        if not self.idle:
            self.so.add((action.action, action.target_id))

    def close(self) -> None:
        """Hold nothing."""


class LastingModerator:
    """A server whose state lies in a file, so that it outlives a process that is killed; each doing is a line in it."""

    name = "fake at social.example"

    def __init__(self, file: Path) -> None:
        self.file = file

    def done(self) -> list[tuple[str, str]]:
        """Return what was done, in order, twice where it was done twice."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [(action, target) for action, target in map(json.loads, lines)]

    def standing(self, action: AppAction, *, within_s: float) -> Standing:
        return Standing.SO if (action.action, action.target_id) in self.done() else Standing.OPEN

    def perform(self, action: AppAction, *, within_s: float) -> None:
        with self.file.open("a") as out:
            out.write(json.dumps([action.action, action.target_id]) + "\n")
            out.flush()
            os.fsync(out.fileno())  # a step at which a test may kill

    def close(self) -> None:
        """Hold nothing."""
