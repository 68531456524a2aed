"""Dataclasses with slots whose methods are made when one of them is first needed, instead of at import.

The library compiles six methods of every class from text: a quarter of what a short command did. Most classes that a
command imports never get an instance. What is made in the end is the library's own work.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, *, frozen: bool = False, slots: bool = False, **others: Any) -> Any:
        """Return what `dataclasses.dataclass` returns: for classes with slots at less cost, for others the same.

        `__init__`, `__repr__`, `__eq__` and `__hash__` stand in for the library's until one of them is called. Such a
        class has no signature before its first instance, and may not be the base of a dataclass of the library's own
        that is frozen. Field types `InitVar` are not known.
        """
        if cls is None:
            return lambda given: dataclass(given, frozen=frozen, slots=slots, **others)
        if not slots or others:
            return dataclasses.dataclass(cls, frozen=frozen, slots=slots, **others)
        return _light(cls, frozen=frozen)


def _light(cls: type, *, frozen: bool) -> Any:
    own = vars(cls)
    hashed = own.get("__hash__") is not None
    wanted = [name for name in ("__init__", "__repr__", "__eq__") if name not in own]
    if frozen and not hashed:
        wanted.append("__hash__")
    cls.__doc__ = cls.__doc__ or cls.__name__  # else the library loads `inspect` to write the signature there
    made: Any = dataclasses.dataclass(cls, init=False, repr=False, eq=False, slots=True)

    def complete(method: str) -> None:
        together = [name for name in wanted if (name == "__init__") == (method == "__init__")]
        whole = _whole(made, frozen=frozen, init=method == "__init__")
        for name in together:  # two threads may be here: what they make is the same, and a lock would outlive a fork
            function = getattr(whole, name)
            function.__qualname__ = f"{made.__qualname__}.{name}"
            setattr(made, name, function)

    for name in wanted:
        setattr(made, name, _stand_in(made, name, complete))
    if not frozen and not hashed and "__eq__" in wanted:
        made.__hash__ = None
    if frozen:
        _freeze(made)
    return made


def _whole(made: Any, *, frozen: bool, init: bool) -> type:
    """Return the library's dataclass of the same fields, with `__init__`, or with the other methods.

    Most objects are made, and never compared or shown.
    """
    parts = []
    for each in dataclasses.fields(made):
        how = {name: getattr(each, name) for name in ("init", "repr", "hash", "compare", "metadata", "kw_only")}
        if each.default is not dataclasses.MISSING:
            how["default"] = each.default
        if each.default_factory is not dataclasses.MISSING:
            how["default_factory"] = each.default_factory
        parts.append((each.name, each.type, dataclasses.field(**how)))
    if not init:
        return dataclasses.make_dataclass(made.__name__, parts, init=False, unsafe_hash=frozen)
    after = {"__post_init__": made.__post_init__} if hasattr(made, "__post_init__") else {}
    return dataclasses.make_dataclass(made.__name__, parts, namespace=after, repr=False, eq=False, frozen=frozen)


def _stand_in(made: Any, name: str, complete: Any) -> Any:
    def method(self: Any, /, *arguments: Any, **named: Any) -> Any:
        if vars(made)[name] is method:
            complete(name)
        return vars(made)[name](self, *arguments, **named)

    method.__name__ = name
    method.__qualname__ = f"{made.__qualname__}.{name}"
    return method


def _freeze(made: Any) -> None:
    names = frozenset(each.name for each in dataclasses.fields(made))

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is made or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(made, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is made or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(made, self).__delattr__(name)

    def __getstate__(self: Any) -> list[Any]:
        return [getattr(self, each.name) for each in dataclasses.fields(self)]

    def __setstate__(self: Any, state: list[Any]) -> None:
        for each, value in zip(dataclasses.fields(self), state, strict=True):
            object.__setattr__(self, each.name, value)

    for method in (__setattr__, __delattr__, __getstate__, __setstate__):
        if method.__name__ not in vars(made):
            method.__qualname__ = f"{made.__qualname__}.{method.__name__}"
            setattr(made, method.__name__, method)
