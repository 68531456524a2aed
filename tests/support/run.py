"""`./dev test`: chooses the tests by what they need, prepares that, runs them, and says what was left out.

Nothing but what needs no server runs unless asked for. With servers the tests that have all they need run while the
rest is still being built; those marked `quiet` come last, alone. What failed beside others, and has to do with time, is
tried once more after these, alone: what is wrong fails twice, and the last lines name what failed once. Every part is
one run of pytest and prints its closing lines; the last lines are about all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil

from support import needs
from support.servers import prepare
from support.servers.debian import Unready
from support.workers import forked_workers

ROOT = Path(__file__).parents[2]
MOST_JOBS = 8
MOST_AGAIN = 12
"""So many failures may be a busy machine's; more are not tried again."""
MISUSE = 2
NONE_FOUND = 5  # pytest's
FAILED = 1  # pytest's
INTERRUPTED = 130


def say(line: str) -> None:
    """Print a line of this command's own."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Preparing:
    """Makes servers ready in a thread, one after the other; what it says is printed between parts, not amid dots."""

    def __init__(
        self, names: Sequence[str], tell: Callable[[str], None] = say, spared: frozenset[str] = frozenset()
    ) -> None:
        """Begin. What is `spared` and cannot be had ends nothing: it is `absent`, by name with the reason."""
        self.waiting = list(names)
        self.refusals: list[str] = []
        self.absent: dict[str, str] = {}
        self._spared = spared
        self._tell = tell
        self._changed = threading.Condition()
        self._kept: list[str] = []
        self._hushed = False
        if names:
            threading.Thread(target=self._work, daemon=True).start()

    def hush(self, hushed: bool) -> None:
        """Keep lines back, or print those that were kept and all that follow."""
        with self._changed:
            self._hushed = hushed
            if not hushed:
                while self._kept:
                    self._tell(self._kept.pop(0))

    def wait(self) -> None:
        """Wait until all are ready, or all but the one that takes longest if tests can go on without it."""
        before = len(self.waiting)
        with self._changed:
            self._changed.wait_for(lambda: len(self.waiting) <= (1 if before > 1 else 0) or bool(self.refusals))

    def end(self) -> None:
        """Leave no build behind when the command ends before it."""
        if self.waiting:
            children = psutil.Process().children(recursive=True)
            for child in children:
                with suppress(psutil.Error):
                    child.terminate()
            psutil.wait_procs(children, 5)

    def _say(self, line: str) -> None:
        with self._changed:
            if self._hushed:
                self._kept.append(line)
            else:
                self._tell(line)

    def _work(self) -> None:
        for name in list(self.waiting):
            refused = []
            try:
                prepare.make(name, self._say)
            except Unready as why:
                refused.append(prepare.refusal(name, why))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is one line and no server
                refused.append(f"{name} ({needs.SERVERS[name]}) cannot be had: {type(error).__name__}: {error}")
            with self._changed:
                self.waiting.remove(name)
                if refused and name in self._spared:
                    self.absent[name] = refused[0]
                else:
                    self.refusals += refused
                self._changed.notify_all()


class Parts:
    """The runs of pytest, and what came of them together."""

    def __init__(self, options: Sequence[str]) -> None:
        """Take pytest's own options."""
        self.options = list(options)
        self.outcomes: Counter[str] = Counter()
        self.failed: list[str] = []
        self.timed: set[str] = set()
        self.passed_again: list[str] = []
        self.slowest: list[tuple[float, str]] = []
        self.left: dict[str, Any] = {"needs": {}, "tests": 0, "lacking": []}
        self.alone: set[str] = set()
        self.codes: list[int] = []
        self.began = time.monotonic()

    def beside(self, *arguments: str, jobs: int) -> None:
        """Run one part, of what can run beside others; whatever it leaves out is what is left out by all."""
        if found := self._run(*arguments, "--only=beside", *self._in(self.left["lacking"]), jobs=jobs):
            self.left = found["left"]
            self.alone.update(self.left["alone"])

    def by_themselves(self, *arguments: str) -> None:
        """Run what must be alone."""
        self._run(*arguments, "--only=alone", *self._in(sorted(self.alone)), jobs=0)

    def again(self, *arguments: str) -> None:
        """Run once more, alone, what failed and has to do with time; what passes then did not fail.

        Nothing is where too much failed, or something that is wrong whatever the time is.
        """
        failed, codes = sorted(set(self.failed)), self.codes
        if not failed or len(failed) > MOST_AGAIN or not self.timed.issuperset(failed) or "--pdb" in self.options:
            return
        say("\nagain, alone, for the machine may have been busy:")
        with tempfile.NamedTemporaryFile("w") as names:
            names.write("\n".join(failed))
            names.flush()
            files = self._in(sorted({name.partition("::")[0] for name in failed}))
            self.codes, self.failed = [0 if code == FAILED else code for code in codes], []
            found = self._run(*arguments, *files, f"--again={names.name}", jobs=0)
        if found is not None and found["outcomes"].get("passed") == len(failed):
            self.passed_again = failed
            for name in ("failed", "error"):
                del self.outcomes[name]
            self.outcomes["tried again"] = len(failed)
        else:
            self.codes, self.failed = [*codes, self.codes[-1]], failed

    def _in(self, files: Sequence[str]) -> list[str]:
        """Return the option to look into these files alone, where a part ran before: that saves its imports."""
        return [f"--files={','.join(files)}"] if self.codes else []

    def _run(self, *arguments: str, jobs: int) -> dict[str, Any] | None:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as collected:
            figures = Path(folder) / "figures.json"
            workers = ["-n", "0"]
            if jobs:
                workers = collected.enter_context(forked_workers([*arguments, *self.options], jobs))
            command = [sys.executable, "-m", "pytest", "--dist", "loadfile", *workers, *arguments]
            done = subprocess.run([*command, f"--figures={figures}", *self.options], cwd=ROOT, check=False)
            self.codes.append(done.returncode)
            if not figures.exists():
                return None
            found: dict[str, Any] = json.loads(figures.read_text())
        self.outcomes.update(found["outcomes"])
        self.failed += found["failed"]
        self.timed.update(found["timed"])
        self.slowest = sorted([*self.slowest, *map(tuple, found["slowest"])], reverse=True)[:10]
        return found

    @property
    def over(self) -> bool:
        """Whether no further part may run."""
        stop = any(option in ("-x", "--exitfirst") or option.startswith("--maxfail") for option in self.options)
        return any(code not in (0, FAILED, NONE_FOUND) or (code == FAILED and stop) for code in self.codes)

    @property
    def code(self) -> int:
        """How the command ends: by the worst of all parts; that one of them found no test is none."""
        found = [code for code in self.codes if code not in (0, NONE_FOUND)]
        if found:
            return max(found)
        return 0 if 0 in self.codes else NONE_FOUND

    def text(self) -> list[str]:
        """Return the last lines."""
        lines = ["", "the slowest:"] if self.slowest else [""]
        lines += [f"  {seconds:6.1f} s  {what}" for seconds, what in self.slowest]
        lines += left_out(self.left)
        lines += [f"failed once, passed alone: {name}" for name in self.passed_again]
        if len(self.codes) > 1:
            lines += [f"FAILED {name}" for name in self.failed]
            counts = ", ".join(f"{count} {name}" for name, count in self.outcomes.items() if name != "deselected")
            line = f" {counts or 'no tests ran'} in {time.monotonic() - self.began:.2f}s "
            lines.append(line.center(80, "="))
        return lines


def left_out(left: dict[str, Any]) -> list[str]:
    """Return what did not run, why, and what would run it."""
    lines = []
    if left["tests"]:
        lines.append(
            f"not run: {left['tests']} tests, one that needs several things counted with each; --all runs them"
        )
        for name, reason in needs.ALL.items():
            if count := left["needs"].get(name, 0):
                how = f"./dev test --servers {name}" if name in needs.SERVERS else "./dev test --all"
                lines.append(f"  {count:4}  {name:<11} {reason}: {how}")
    lines.append("not run: tests/parity, beside torch: ./dev parity")
    return lines


def chosen(said: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Read the command line; what is not ours is pytest's."""
    parser = argparse.ArgumentParser(
        prog="./dev test", description="Run the tests that need python3 alone.", allow_abbrev=False,
        epilog="All else goes to pytest: paths, -k, -x, --pdb, -n.",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="with every real server, long fault injection and fuzzing")
    parser.add_argument(
        "--servers", metavar="NAMES", action="append", default=[],
        help=f"with the tests that need just these: {','.join(needs.SERVERS)}",
    )  # fmt: skip
    options, others = parser.parse_known_args(said)
    names = [name.strip() for part in options.servers for name in part.split(",") if name.strip()]
    for name in names:
        if name not in needs.SERVERS:
            parser.error(f"--servers {name}: there is no such server; it knows {', '.join(needs.SERVERS)}")
    if options.servers and not names:
        parser.error(f"--servers: name at least one of {', '.join(needs.SERVERS)}")
    options.servers = list(needs.SERVERS) if options.all else names
    return options, others


def jobs_of(options: Sequence[str], *, beside_servers: bool = False) -> int:
    """Return how many tests run at once: a third of their time they wait. A debugger is alone.

    Two more than cores; one more where servers and long fault injection want their time as well.
    """
    more = 1 if beside_servers else 2
    if "--pdb" in options or any(option.startswith(("-n", "--numprocesses")) for option in options):
        return 0  # or as many as pytest is told
    return min(len(os.sched_getaffinity(0)) + more, MOST_JOBS)


def main(arguments: Sequence[str]) -> int:
    """Run; 2 where something that was asked for cannot be had on this machine."""
    options, others = chosen(arguments)
    wanted = {*options.servers, *(needs.GROUPS if options.all else ())}
    lacking, refused = prepare.missing(options.servers)
    spared = needs.ABSENT if options.all else frozenset[str]()
    if refused.keys() - spared:
        for line in refused.values():
            say(f"./dev test: {line}")
        return MISUSE
    if lacking:
        say(f"preparing meanwhile: {', '.join(lacking)}")
    preparing = Preparing(lacking, spared=spared)
    preparing.absent.update(refused)
    try:
        with tempfile.TemporaryDirectory() as notes:
            parts = Parts([f"--ran={notes}", *others])
            return run(wanted, preparing, parts, jobs_of(others, beside_servers=bool(wanted)))
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        preparing.end()


def run(wanted: set[str], preparing: Preparing, parts: Parts, jobs: int) -> int:
    """Run part after part, as servers get ready, and say what came of it."""
    had: set[str] | None = None
    while True:
        ready = wanted - set(preparing.waiting) - preparing.absent.keys()
        before = () if had is None else (f"--had={','.join(sorted(had))}",)
        preparing.hush(True)
        parts.beside(f"--needs={','.join(sorted(ready))}", *before, jobs=jobs)
        preparing.hush(False)
        had = ready
        if ready == wanted - preparing.absent.keys() or parts.over:
            break
        if preparing.waiting:
            say(f"waiting for {', '.join(preparing.waiting)}")
        preparing.wait()
        if preparing.refusals:
            break
    for line in preparing.refusals:
        say(f"./dev test: {line}")
    if parts.alone and not parts.over:
        say("\nalone, for they measure time or memory:")
        parts.by_themselves(f"--needs={','.join(sorted(had))}")
    if not parts.over:
        parts.again(f"--needs={','.join(sorted(had))}")
    for line in [*parts.text(), *(f"not run: what needs {line}" for line in preparing.absent.values())]:
        say(line)
    return MISUSE if preparing.refusals else parts.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
