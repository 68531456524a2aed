"""Ray as the cluster of a sweep: started on this machine, or joined. Nothing else of this program knows Ray.

Ray's object store spills to disk in the clear, so nothing goes into it but what `messages` holds. Its reports of use
and its dashboard are off where this program starts it.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from fedi_safety.app.sweep.driver import Lost
from fedi_safety.app.sweep.messages import Place
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import SweepError, SweepUsageError
from fedi_safety.service.cpus import cpu_count

STORE_BYTES = 80 << 20  # of Ray's object store, which nothing large goes into; Ray wants 75 MB
_INSTALL = 'install it with: pip install "fedi-safety[ray]"'
_THREADS = 3  # of one worker: it judges, and meanwhile says how far it is, and is told to stop
_ASK_S = 2.0  # how long the head may take to answer
_GONE_S = 30.0  # and for how long it may not; Ray ends this process after a minute
_GPU_DEVICES = frozenset({"auto", "cuda", "tensorrt", "rocm"})
_NAMESPACE = "fedi-safety"


class RayCluster:
    """Workers as Ray's actors: one for each GPU, or for all the processors of a machine without one."""

    def __init__(self, ray: Any, address: str, settings: Settings) -> None:
        """Use a Ray that is initialized; `address` is that of its head."""
        from fedi_safety.app.sweep.worker import SweepWorker

        self._ray = ray
        host, _, port = address.rpartition(":")
        self._host = host.strip("[]")
        self._port = int(port)
        self._settings = settings
        self._actor = ray.remote(SweepWorker)
        self._answered_at = time.monotonic()
        self._places: list[Place] = []

    def places(self) -> list[Place]:
        """Return the machines, or their GPUs, that Ray may give work to."""
        if not self._head_answers():
            return self._places  # to ask for them would wait for it
        found: list[Place] = []
        for node in self._ray.nodes():
            cpus = int(node["Resources"].get("CPU", 0))
            gpus = int(node["Resources"].get("GPU", 0)) if self._settings.device in _GPU_DEVICES else 0
            if not node["Alive"] or not (cpus or gpus):
                continue
            host, machine = node["NodeManagerHostname"] or node["NodeManagerAddress"], node["NodeID"]
            if gpus:
                each = max(1, cpus // gpus)
                found += [Place(f"{host} GPU {at} ({machine[:8]})", machine, host, each, 1) for at in range(gpus)]
            else:
                found.append(Place(f"{host} ({machine[:8]})", machine, host, cpus))
        self._places = found
        return found

    def _head_answers(self) -> bool:
        """Whether Ray's head is there. Raises `SweepError` where it was not for long: Ray would end this process."""
        try:
            with socket.create_connection((self._host, self._port), timeout=_ASK_S):
                self._answered_at = time.monotonic()
                return True
        except OSError as error:
            now = time.monotonic()
            if now - self._answered_at > _GONE_S:
                head = f"{self._host}:{self._port}"
                remedy = "start it again, and then the same command: it goes on from there"
                raise SweepError(f"Ray at {head}", f"does not answer ({error.strerror or error})", remedy) from error
            return False

    def start(self, place: Place) -> Any:
        """Start a worker that has all the processors of its place; it waits where others use them."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return self._actor.options(
            num_cpus=place.cpus if not place.gpus else 0,
            num_gpus=place.gpus,
            max_concurrency=_THREADS,
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(place.machine, soft=False),
        ).remote()

    def call(self, worker: Any, method: str, *arguments: Any) -> Any:
        """Begin a call of a worker's method."""
        return getattr(worker, method).remote(*arguments)

    def answered(self, references: Sequence[Any], wait_s: float) -> list[Any]:
        """Return the references that are answered."""
        done, _ = self._ray.wait(list(references), num_returns=1, timeout=wait_s, fetch_local=False)
        if not done:
            return []
        more, _ = self._ray.wait(list(references), num_returns=len(references), timeout=0, fetch_local=False)
        return list(more or done)

    def answer(self, reference: Any) -> Any:
        """Return an answer; see `Cluster`."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference, timeout=60)
        except errors.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, BaseException) else error
            first = str(cause).strip().splitlines()
            said = f"{type(cause).__name__}: {first[-1] if first else ''}"
            logging.getLogger(__name__).debug("a worker's error", exc_info=error)
            raise SweepError("worker", f"failed with {said}", "report it to fedi-safety") from error
        except errors.RuntimeEnvSetupError as error:
            raise SweepError("worker", str(error).splitlines()[0], "see the logs of Ray") from error
        except errors.RayError as error:
            raise Lost(_why(error)) from error

    def end(self, worker: Any) -> None:
        """Kill a worker; its children end with it."""
        with suppress(Exception):  # what is gone already, or unreachable
            self._ray.kill(worker)


def _why(error: BaseException) -> str:
    """Return Ray's reason in a few words, of the many that it says."""
    text = str(error)
    if "ModuleNotFoundError" in text or "No module named" in text:
        return "fedi-safety is not installed there, in the Python that runs Ray"
    for line in text.splitlines():
        if "died" in line or "killed" in line or "unavailable" in line:
            return line.strip()[:160]
    return (text.strip().splitlines() or [type(error).__name__])[0][:160]


@contextmanager
def opened_cluster(settings: Settings, address: str | None) -> Iterator[RayCluster]:
    """Join the cluster at `address` (`auto`, or the head's host and port), or start one on this machine alone.

    One that was started here ends with the block, and with this process. Raises `SweepUsageError` or `SweepError`.
    """
    ray = _imported(address)
    try:
        context = _joined(ray, address) if address is not None else _started(ray, settings)
        yield RayCluster(ray, context.address_info["gcs_address"], settings)
    finally:
        with suppress(Exception):
            ray.shutdown()


def _imported(address: str | None) -> Any:
    if address is not None and "://" in address:
        remedy = "give `auto` on a machine of the cluster, or the head's HOST:PORT"
        raise SweepUsageError(f"--address {address}", "a sweep joins a cluster itself, not through Ray Client", remedy)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to anybody (I1)
    if address is None:  # by this alone Ray takes the loopback for its address; else it takes one that all can reach
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # What is set by others must not lead elsewhere than the command says.
    os.environ.pop("RAY_ADDRESS", None)
    try:
        import ray
    except ImportError as error:
        raise SweepUsageError("--engine ray", "Ray is not installed here", _INSTALL) from error
    return ray


def _started(ray: Any, settings: Settings) -> Any:
    """Start Ray on this machine, reachable from this machine alone."""
    try:
        return ray.init(
            address="local",
            num_cpus=settings.jobs or cpu_count(),
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
            log_to_driver=False,
            configure_logging=False,
            namespace=_NAMESPACE,
            _node_ip_address="127.0.0.1",
        )
    except Exception as error:
        raise SweepError(
            "Ray", f"does not start ({_line(error)})", "see the logs in /tmp/ray/session_latest/logs"
        ) from error


def _joined(ray: Any, address: str) -> Any:
    if address != "auto":
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdigit():
            raise SweepUsageError(f"--address {address}", "is neither `auto` nor HOST:PORT", "such as 10.0.0.1:6379")
        host = host.strip("[]")
        if host in ("localhost", "127.0.0.1", "::1"):  # Ray takes this machine's address then, and waits long for it
            host = ray.util.get_node_ip_address()
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            cause = f"nothing answers there ({getattr(error, 'strerror', None) or error})"
            remedy = "start Ray there: ray start --head; and check the address and the firewall"
            raise SweepError(f"Ray at {address}", cause, remedy) from error
    try:
        return ray.init(address=address, log_to_driver=False, configure_logging=False, namespace=_NAMESPACE)
    except ConnectionError as error:
        remedy = "join it from this machine first: ray start --address HEAD:6379"
        raise SweepError(f"Ray at {address}", f"cannot be joined ({_line(error)})", remedy) from error
    except RuntimeError as error:
        if "ersion mismatch" in str(error):
            cause = "runs another Ray or Python than this program: " + _line(error, whole=True)
            raise SweepUsageError(f"Ray at {address}", cause, "install the same ones on every machine") from error
        raise SweepError(f"Ray at {address}", f"cannot be joined ({_line(error)})", "see `ray status`") from error
    except Exception as error:
        raise SweepError(f"Ray at {address}", f"cannot be joined ({_line(error)})", "see `ray status`") from error


def _line(error: BaseException, *, whole: bool = False) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return "; ".join(lines) if whole else lines[0]
