"""How objects stand, as the ledger's columns say it, and the revision of these columns. Knows no database."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

REVISION = "0029"
"""The newest revision in migrations/; a test holds it to the script directory's head."""

IMPORTED_LABEL = "imported"
"""What all have as a label that were taken over from the predecessor."""


class State(StrEnum):
    """What the ledger knows of an object; the values of `objects.state`."""

    JUDGED = "judged"
    UNSCANNED = "unscanned"
    REMOVED = "removed"
    GONE = "gone"  # not in its store any more, by other hands; present again when it is met again
    HISTORY = "history"  # condemned by the predecessor; judged again when it is met
    TRUSTED = "trusted"  # passed by the predecessor, whose word the operator takes


class Group(NamedTuple):
    """How objects stand that are counted together. What does not apply is empty; labels are `codec`'s text."""

    store_id: int
    state: str
    reason: str = ""
    verdict: str = ""
    labels: str = "[]"
    partly: bool = False
