"""`./dev soak NAME`: a large count once in full, of which the tests do a share."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Soak:
    """What is done, and the tests that do it."""

    what: str
    tests: tuple[str, ...]


SOAKS = {
    "bucket": Soak(
        "1,000,000 keys on a real S3 server listed in parts, and fewer of two shapes that it lists slowly",
        ("tests/integration/test_large_bucket.py",),
    ),
    "concurrent": Soak(
        "10,000 interleavings of two to eight processes at one ledger, on each kind of database",
        ("tests/contract/test_concurrent.py",),
    ),
    "fuzz": Soak(
        "200,000 spoiled files through the media layer",
        ("tests/integration/test_fuzz.py", "-k", "does_harm"),
    ),
    "gate-fuzz": Soak(
        "some 20,000 malformed requests, and 8,000 of garbage, at the gate",
        ("tests/integration/test_gate_fuzz.py", "-k", "thousand or every_kind"),
    ),
    "gate-kill": Soak(
        "the gate, its decoders and its workers killed over and over amid uploads",
        ("tests/integration/test_gate_faults.py", "-k", "killed"),
    ),
    "kill": Soak(
        "the program killed 1,000 times at any instant: scan, apply, watch",
        ("tests/invariants/test_i3_the_program_is_killed.py",),
    ),
    "kill-steps": Soak(
        "scan and apply killed at every single step over 61 condemned files",
        ("tests/invariants/test_i3_recorded_before_done.py", "-k", "every_step"),
    ),
    "multipart": Soak(
        "5,000 forms that can be read in two ways, as the parsers of servers read them, by their rules and for real",
        ("tests/adapters/gate/test_proxy_forms.py", "tests/integration/test_form_parsers.py", "-k", "no_server_finds"),
    ),
    "notify": Soak(
        "10,000 changes told to a receiver that fails half the time, with restarts in between",
        ("tests/invariants/test_i3_told_once.py",),
    ),
    "properties": Soak(
        "a hundred times as many examples of every property",
        ("tests/core", "tests/adapters", "tests/invariants", "-m", "hypothesis"),
    ),
    "proxy": Soak(
        "10,000 requests of up to 100 MB byte for byte through the proxy, and 100 uploads of 40 MB in its memory",
        ("tests/integration/test_proxy_exact.py",),
    ),
    "queue": Soak(
        "1,000 rounds of uploads among workers that misbehave",
        ("tests/adapters/gate/test_worker_queue.py", "-k", "whatever_workers_do"),
    ),
    "review-fuzz": Soak(
        "8,000 requests, well and badly formed, at every route of the review pages",
        ("tests/integration/test_review_fuzz.py",),
    ),
    "seal": Soak(
        "acts that seal, killed 1,000 times between any two of their steps, and 300 times in a bucket with versions",
        (
            "tests/invariants/test_i3_sealed_before_removed.py",
            "tests/invariants/test_i3_versions_sealed_before_removed.py",
            "-k",
            "killed",
        ),
    ),
    "sweep": Soak(
        "300 sweeps by Ray's workers in which a worker, a machine, the driver or PostgreSQL is killed",
        ("tests/invariants/test_i3_a_sweep_is_killed.py",),
    ),
}


def main(arguments: Sequence[str]) -> int:
    """Run one, or list them."""
    listed = "\n".join(f"  {name:<11} {soak.what}" for name, soak in SOAKS.items())
    parser = argparse.ArgumentParser(
        prog="./dev soak", description=__doc__, epilog=f"soaks:\n{listed}", allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("name", nargs="?", metavar="NAME", help="which; all are listed without it")
    parser.add_argument("--seed", type=int, help="what it is drawn by; another one each time if not given")
    options, others = parser.parse_known_args(arguments)
    if options.name is None:
        sys.stdout.write(f"{listed}\n")
        return 0
    if options.name not in SOAKS:
        parser.error(f"{options.name}: there is no such soak; it knows {', '.join(SOAKS)}")
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    sys.stdout.write(f"./dev soak {options.name} --seed {seed}: {SOAKS[options.name].what}\n")
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", "-n0", "--timeout=0", "--soak", f"--seed={seed}"]
    command += [f"--hypothesis-seed={seed}", *SOAKS[options.name].tests, *others]
    # One arena for all threads: what grows is a leak then.
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "MALLOC_ARENA_MAX": "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
