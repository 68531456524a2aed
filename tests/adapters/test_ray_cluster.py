"""Ray as it is joined, without it: what is not there, or is another version, is one line that says what to do."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fedi_safety.app.sweep.cluster import RayCluster, opened_cluster
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import ExitCode, SweepError, SweepUsageError


@pytest.fixture
def head() -> Iterator[str]:
    """Somebody who listens where Ray's head would."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(autouse=True)
def as_ray_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")


def fake_ray(error: Exception | None = None, **answers: Any) -> SimpleNamespace:
    def init(**_asked: object) -> None:
        raise error or AssertionError("not asked for")

    util = SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")
    return SimpleNamespace(init=init, shutdown=lambda: None, util=util, remote=lambda of: of, **answers)


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SweepUsageError, match=r"--engine ray: Ray is not installed here; install it with") as error:
        opened_cluster(Settings(), None).__enter__()
    assert error.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n    Python: 3.11.7"),
            ExitCode.USAGE,
            "runs another Ray or Python than this program: Version mismatch: .*: 2.50.0",
        ),
        (
            ConnectionError("Could not find any running Ray instance."),
            ExitCode.OUTSIDE,
            "ray start --address HEAD:6379",
        ),
        (RuntimeError("no token"), ExitCode.OUTSIDE, r"cannot be joined \(no token\)"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_one_line(
    error: Exception, code: ExitCode, words: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", fake_ray(error))
    with pytest.raises(SweepError, match=words) as raised:
        opened_cluster(Settings(), head).__enter__()
    assert raised.value.exit_code is code and "\n" not in raised.value.line()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def nodes(*resources: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {"Alive": True, "Resources": each, "NodeID": f"{at:08}", "NodeManagerHostname": f"m{at}"}
        for at, each in enumerate(resources)
    ]


@pytest.mark.parametrize(("device", "gpus"), [("auto", [0, 1, 1]), ("cuda", [0, 1, 1]), ("cpu", [0, 0])])
def test_a_worker_has_a_gpu_or_all_processors_of_a_machine(device: Any, gpus: list[int], head: str) -> None:
    ray = fake_ray(nodes=lambda: nodes({"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}, {"memory": 1e9}))
    places = RayCluster(ray, head, Settings(device=device)).places()
    assert [place.gpus for place in places] == gpus
    assert [place.cpus for place in places] == ([4, 4, 4] if any(gpus) else [4, 8])
    assert len({place.id for place in places}) == len(places)


def test_a_head_that_is_gone_ends_the_pass_before_ray_ends_the_process(
    head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = RayCluster(fake_ray(nodes=lambda: nodes({"CPU": 1.0})), head, Settings())
    first = cluster.places()

    def refused(*_: object, **__: object) -> socket.socket:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", refused)
    assert cluster.places() == first
    cluster._answered_at -= 31
    with pytest.raises(SweepError, match=r"Ray at 127.*: does not answer \(Connection refused\); start it again"):
        cluster.places()
