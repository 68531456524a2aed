"""What the bench of other paths beside uploads makes of its measurements."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))
from bench import other_paths
from bench.other_paths import HALVES, WAYS, between, figures, moved, ms, told
from bench.proxied import ANSWER


def half(p99_ms: float) -> list[float]:
    """Ninety-eight requests of a millisecond and, among 101, three as slow as this."""
    return [0.001] * 98 + [p99_ms / 1000] * 3


def rounds(*of: Mapping[str, float]) -> list[dict[str, dict[str, Sequence[tuple[float, float]]]]]:
    """Rounds with these 99ths of 100 of requests through the gate; directly all are as in the quiet half."""
    return [
        {
            name: {
                "direct": [(t, t) for t in half(one["quiet"])],
                "through": [(t, 2 * t) for t in half(one[name])],
            }
            for name in HALVES
        }
        for one in of
    ]


def test_each_half_is_held_against_the_quiet_one_of_its_own_round() -> None:
    found = moved([half(2), half(10), half(4)], [half(3), half(10.5), half(4)])["p99"]
    assert found["pairs"] == [0.5, 0.05, 0.0]
    assert found["moved"] == 0.05, "the middle of the pairs, and not of what was pooled"
    assert found["interval"] == [0.0, 0.5]
    assert (ms(half(7), 99), ms(half(7), 50)) == (7.0, 1.0)


@pytest.mark.parametrize(
    ("loud", "result"),
    [((2.1, 2.1, 2.1), "kept"), ((3.0, 3.1, 2.9), "MISSED"), ((2.0, 3.0, 2.1), "not decided by these pairs")],
)
def test_a_tenth_is_kept_or_missed_only_where_all_of_the_interval_says_so(loud: Sequence[float], result: str) -> None:
    found = figures(rounds(*({"quiet": 2.0, "uploads": one, "past": 2.0} for one in loud)))
    lines = list(told(found))
    assert lines[-1] == f"at most 10 % through the gate: {result}"
    assert found["past"]["through"]["p99"]["moved"] == 0 == found["uploads"]["direct"]["p99"]["moved"]
    assert found["uploads"]["through, as had"]["p99"]["before_ms"] == 4.0
    assert len(lines) == 2 * 2 * len(WAYS) + 1


def test_what_the_processors_did_is_told_as_shares_and_waits_as_seconds() -> None:
    before = {"all": 100.0, "steal": 1.0, "idle": 50.0, "--ask": 0.5}
    after = {"all": 200.0, "steal": 3.0, "idle": 120.0, "--ask": 0.75, "nginx: worker": 0.1}
    assert between(before, after) == {"used": 0.28, "steal": 0.02, "waited_s ask": 0.25, "waited_s worker": 0.1}


def test_an_answer_that_is_there_at_once_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way through a server of the same kind, answered as fast as a kernel can: nothing hangs."""
    monkeypatch.setattr(other_paths, "_LONG_S", 5.0)
    import socket
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(3):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER)
                while connection.recv(1 << 16):
                    pass

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        took = other_paths.upload(listener.getsockname()[1], [b"x" * 300_000] * 3, [0.0, 0.01, 0.02])
    assert len(took) == 3 and max(took) < 5
