"""What a server's refusal means for the other actions: that nobody is served now, or that this one is not done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fedi_safety.core.errors import ApiError, ModerationDown, ModerationError

_DOWN = frozenset({None, 401, 429, 502, 503, 504})


@contextmanager
def refusals() -> Iterator[None]:
    """Turn `ApiError` into the errors of the `Moderator` port."""
    try:
        yield
    except ApiError as error:
        kind = ModerationDown if error.status in _DOWN else ModerationError
        raise kind(error.thing, error.cause, error.remedy) from None
