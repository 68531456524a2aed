"""Methods that are done again where a transaction came to nothing, such as when the database's server was restarted."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)


def done_again(*, but: Collection[str]) -> Callable[[_Class], _Class]:
    """Return what has every public method of a ledger's class done as `Database.whole` does it, but for some.

    Each is one transaction, or goes on where it was when it is called once more. Of a method that yields only its
    caller knows what was yielded: its pages must be asked for by `whole` themselves.
    """

    def changed(cls: _Class) -> _Class:
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            if not name.startswith("_") and name not in but and not inspect.isgeneratorfunction(method):
                setattr(cls, name, _again(method))
        return cls

    return changed


def _again(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.database.whole(functools.partial(method, self, *args, **kwargs))

    return call
