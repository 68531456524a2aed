"""Ray with several raylets on this machine, of which tests kill what they like."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from support.program import ENVIRONMENT

STORE_BYTES = 78_643_200  # the least that Ray takes
_SYSTEM = {
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
    "worker_niceness": 0,  # Ray's 15 would have them wait for all other tests
}


class RayNodes:
    """A head that does no work, and nodes of one processor each."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    @property
    def session(self) -> Path:
        return Path(self._cluster.head_node.get_session_dir_path())

    @property
    def nodes(self) -> list[Any]:
        return list(self._cluster.worker_nodes)

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, wait=False)
        self._cluster.wait_for_nodes(timeout=120)

    def kill_node(self, node: Any) -> None:
        """Kill a raylet, as the power of its machine may go; its workers end with it."""
        self._cluster.remove_node(node, allow_graceful=False)

    def processes(self, name: str) -> list[int]:
        """Return the processes of this session whose command line holds a pattern."""
        mine = [node.all_processes for node in (self._cluster.head_node, *self._cluster.worker_nodes)]
        raylets = {each.process.pid for found in mine for of in found.values() for each in of}
        return [
            pid
            for pid in map(int, filter(str.isdigit, os.listdir("/proc")))  # noqa: PTH208
            if (pid in raylets or _parent(pid) in raylets) and re.search(name, _command(pid))
        ]

    def workers(self) -> list[int]:
        """Return the processes of the sweep's workers."""
        return self.processes("ray::SweepWorker")

    def kill_worker(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _parent(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


@contextmanager
def ray_nodes(count: int, folder: Path) -> Iterator[RayNodes]:
    """Start a head and so many nodes, and end them all."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("HOME", str(folder))
        patch.setenv("FEDI_SAFETY_ROOT", str(folder / "root"))
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "RAY_ADDRESS"):
            patch.delenv(name, raising=False)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        from ray.cluster_utils import Cluster

        # Signals are the tests' own, and a thread, which may add a node, cannot set what handles them.
        patch.setattr("ray._private.utils.set_sigterm_handler", lambda _handler: None)
        head = {
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "_system_config": _SYSTEM,
        }
        cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        try:
            found = RayNodes(cluster)
            found.add(count)
            yield found
        finally:
            cluster.shutdown()
