"""Dataclasses that are made lightly are the library's own, as far as anybody can tell."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

import fedi_safety
from fedi_safety.core import classes
from fedi_safety.core.types import Object

Maker = Callable[..., Any]
SOURCE = Path(fedi_safety.__file__).parent


def _family(maker: Maker, *, frozen: bool) -> dict[str, Any]:
    """Return classes of many kinds, made by the library or lightly."""

    @maker(frozen=frozen, slots=True)
    class Plain:
        first: int
        second: str = "two"
        many: list[int] = field(default_factory=list)
        hidden: int = field(default=0, repr=False, compare=False)
        told: int = field(default=0, kw_only=True)

    @maker(frozen=frozen, slots=True)
    class Heir(Plain):
        """Has a field more."""

        second: str = "other"
        third: float = 1.5

    @maker(frozen=frozen, slots=True)
    class After:
        value: int
        twice: int = field(init=False, default=0)

        def __post_init__(self) -> None:
            object.__setattr__(self, "twice", 2 * self.value)

    @maker(frozen=frozen, slots=True)
    class Own:
        value: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own) and self.value % 2 == other.value % 2

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "own"

    class Child(Plain):
        pass

    return {"Plain": Plain, "Heir": Heir, "After": After, "Own": Own, "Child": Child}


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (TypeError, AttributeError, ValueError) as error:
        return type(error).__name__, str(error)


def _assign(made: Any, name: str) -> Any:
    setattr(made, name, 9)
    return getattr(made, name)


_NEVER = ("FrozenInstanceError", "AttributeError", "TypeError")  # the library has the wrong one for slots
WORK: dict[str, Callable[[dict[str, Any]], Any]] = {
    "shown": lambda c: [repr(c["Plain"](1, hidden=3)), repr(c["Heir"](1)), repr(c["After"](4)), repr(c["Own"](1))],
    "equal": lambda c: [c["Plain"](1) == c["Plain"](1, hidden=5), c["Plain"](1) == c["Plain"](2), c["Own"](1) == 3],
    "equal to others": lambda c: [c["Plain"](1) == c["Heir"](1), c["Child"](1) == c["Child"](1), c["Own"](1).value],
    "own equality": lambda c: c["Own"](1) == c["Own"](3),
    "hash": lambda c: hash(c["Plain"](1, "x", many=())) == hash((1, "x", (), 0)),
    "own hash": lambda c: hash(c["Own"](5)),
    "missing": lambda c: c["Plain"](),
    "too many": lambda c: c["Heir"](1, "a", [], 0, 2.5, 6, 7),
    "unknown": lambda c: c["Plain"](1, nothing=2),
    "not for init": lambda c: c["After"](1, twice=5),
    "by keyword alone": lambda c: c["Plain"](1, told=4).told,
    "separate defaults": lambda c: c["Plain"](1).many is c["Plain"](1).many,
    "replaced": lambda c: dataclasses.replace(c["Heir"](1), third=2.0, told=8),
    "as a dict": lambda c: dataclasses.asdict(c["Heir"](1, many=[4])),
    "fields": lambda c: [each.name for each in dataclasses.fields(c["Heir"])],
    "copied": lambda c: copy.copy(c["Heir"](1)) == c["Heir"](1),
    "assigned": lambda c: _assign(c["Plain"](1), "first"),
    "assigned what is none": lambda c: _outcome(lambda: _assign(c["Plain"](1), "nothing"))[0] in _NEVER,
    "assigned in an heir": lambda c: _assign(c["Heir"](1), "first"),
    "assigned in a child": lambda c: _assign(c["Child"](1), "first"),
    "deleted": lambda c: delattr(c["Plain"](1), "first"),
    "slots": lambda c: [c["Plain"].__slots__, c["Heir"].__slots__, hasattr(c["Plain"](1), "__dict__")],
    "matched": lambda c: c["Heir"].__match_args__,
}


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("name", WORK)
def test_a_light_class_does_what_the_librarys_does(name: str, frozen: bool) -> None:
    found = _outcome(lambda: WORK[name](_family(classes.dataclass, frozen=frozen)))
    wanted = _outcome(lambda: WORK[name](_family(dataclasses.dataclass, frozen=frozen)))
    assert repr(found) == repr(wanted)


def test_what_is_pickled_comes_back() -> None:
    made = Object("a/b.jpg", 7, 15, "tag")
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert again == made
        assert hash(again) == hash(made)


def test_many_threads_may_make_the_first() -> None:
    light = _family(classes.dataclass, frozen=True)["Heir"]
    start, made = Barrier(8), []

    def make(number: int) -> None:
        start.wait()
        made.append(light(number))

    threads = [Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.first for each in made) == list(range(8))


def test_nothing_is_compiled_before_it_is_needed() -> None:
    code = (
        "import dataclasses; made = []; kept = dataclasses._process_class\n"
        "def process(cls, init, *others):\n    made.append((cls.__name__, init)); return kept(cls, init, *others)\n"
        "dataclasses._process_class = process\n"
        "import fedi_safety.core.ledger.ports as ports\n"
        "print(len(made), sum(init for _, init in made))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seen, compiled = map(int, done.stdout.split())
    assert seen > 20
    assert compiled <= 8  # two kinds of class that stay the library's, and what a default is made of


def test_the_core_has_no_other_dataclasses() -> None:
    library = re.compile(r"^from dataclasses import .*\bdataclass\b", re.MULTILINE)
    files = [path for path in (SOURCE / "core").rglob("*.py") if path.parent.name != "classes"]
    others = [path.name for path in files if library.search(path.read_text(encoding="utf-8"))]
    assert others == []
