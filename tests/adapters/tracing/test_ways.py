"""How a tracer degrades: the best open way answers, what is closed is named, and the path is read whatever happens."""

from __future__ import annotations

from functools import partial

import pytest

from fedi_safety.core.errors import TraceError
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing.ways import Way, WaysTracer

DATABASE, API, PATH = SightingWay.DATABASE, SightingWay.API, SightingWay.PATH
SUBJECT = Subject(key="a/b.png")


def seen(way: SightingWay) -> Sighting:
    return Sighting(SightingKind.UPLOAD, way, Certainty.CERTAIN)


def tracer(*answers: tuple[SightingWay, Traced | Exception], path: Traced) -> tuple[WaysTracer, list[SightingWay]]:
    asked: list[SightingWay] = []

    def way(kind: SightingWay, answer: Traced | Exception) -> Way:
        def ask(subject: Subject, within_s: float) -> Traced:
            assert subject is SUBJECT
            asked.append(kind)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return Way(kind, ask)

    return WaysTracer("a server", [way(kind, answer) for kind, answer in answers], lambda _: path), asked


CLOSED = TraceError("trace.database", "nobody answers", "see whether it runs")
LINE = "trace.database: nobody answers; see whether it runs"
BY_PATH, NO_PATH = Traced((seen(PATH),)), Traced(unknown="it is no path of its own")


@pytest.mark.parametrize(
    ("answers", "path", "expected", "asked"),
    [
        pytest.param([], BY_PATH, BY_PATH, [], id="the path alone"),
        pytest.param([], NO_PATH, NO_PATH, [], id="the path alone, and it is strange"),
        pytest.param(
            [(DATABASE, Traced((seen(DATABASE),), "posts were skipped")), (API, CLOSED)],
            BY_PATH,
            Traced((seen(DATABASE),), "posts were skipped"),
            [DATABASE],
            id="the best one answers",
        ),
        pytest.param(
            [(DATABASE, CLOSED), (API, Traced((seen(API),)))],
            BY_PATH,
            Traced((seen(API),), closed=(LINE,)),
            [DATABASE, API],
            id="the next best answers",
        ),
        pytest.param(
            [(DATABASE, CLOSED)], BY_PATH, Traced((seen(PATH),), closed=(LINE,)), [DATABASE], id="the path is left"
        ),
        pytest.param([(DATABASE, Traced()), (API, CLOSED)], NO_PATH, Traced(), [DATABASE], id="nothing is an answer"),
        pytest.param(
            [(DATABASE, Traced())],
            BY_PATH,
            Traced((seen(PATH),), "the database knows of no such record"),
            [DATABASE],
            id="a record that is gone",
        ),
        pytest.param(
            [(DATABASE, Traced(unknown="it has no address")), (API, Traced((seen(API),)))],
            NO_PATH,
            Traced((seen(API),)),
            [DATABASE, API],
            id="one that cannot tell of this leaves it to the next",
        ),
        pytest.param(
            [(DATABASE, Traced(unknown="posts were skipped")), (API, Traced())],
            NO_PATH,
            Traced(unknown="posts were skipped"),
            [DATABASE, API],
            id="what was left out is said although the next knows of nothing",
        ),
    ],
)
def test_the_best_open_way_answers(
    answers: list[tuple[SightingWay, Traced | Exception]], path: Traced, expected: Traced, asked: list[SightingWay]
) -> None:
    made, by = tracer(*answers, path=path)
    assert made.trace(SUBJECT, within_s=5) == expected
    assert by == asked


@pytest.mark.parametrize("after", [Traced(), Traced(unknown="it cannot be asked about this")])
def test_not_to_know_is_an_error_where_a_way_was_closed(after: Traced) -> None:
    for answers in ([(DATABASE, CLOSED)], [(DATABASE, CLOSED), (API, after)]):
        made, _ = tracer(*answers, path=NO_PATH)
        with pytest.raises(TraceError, match="nobody answers"):
            made.trace(SUBJECT, within_s=5)


def test_a_way_that_takes_all_that_it_may_leaves_time_for_the_next() -> None:
    given: list[float] = []

    def ask(_: Subject, within_s: float) -> Traced:
        given.append(within_s)
        raise CLOSED

    made = WaysTracer("a server", [Way(DATABASE, ask), Way(API, ask)], lambda _: BY_PATH)
    made.trace(SUBJECT, within_s=10)
    assert 4 < given[0] < 4.6  # half of what is left, less a margin
    assert 8 < given[1] < 9.1  # what the first did not take is the second's
    made.trace(SUBJECT, within_s=0)
    assert given[2:] == [0.0, 0.0]


def test_closing_closes_every_way() -> None:
    closed: list[SightingWay] = []
    ways = [Way(kind, lambda *_: Traced(), partial(closed.append, kind)) for kind in (DATABASE, API)]
    WaysTracer("a server", ways, lambda _: BY_PATH).close()
    assert closed == [DATABASE, API]
