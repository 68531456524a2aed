"""What a test may need beside python3 and the network, and which tests need it.

A test names its needs by the marker `needs`; a fixture that starts a server names them by the decorator of that name,
and all who use the fixture have them then. `./dev test` runs what needs nothing, `--servers` and `--all` the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

SERVERS = {
    "s3": "an S3 server, versitygw, built with Go",
    "sftp": "OpenSSH's sshd",
    "postgresql": "PostgreSQL",
    "pgbouncer": "PgBouncer, between a ledger and its PostgreSQL",
    "pictrs": "pict-rs, built with cargo, beside a Debian that has its tools",
    "lemmy": "Lemmy's tables and types from its crates, beside a Debian with PostgreSQL 17",
    "age": "age, the program, which opens what is sealed",
    "nginx": "nginx",
    "caddy": "Caddy",
    "apache": "Apache",
    "curl": "curl, for the examples of the documentation",
    "minisign": "minisign, for signatures of shared lists",
    "systemd": "systemd-analyze, for the unit",
    "chromium": "Chromium, and what it shows of files",
    "axe": "axe-core from npm, which finds what keeps people out of a page",
    "debian": "a clean Debian, for the container's recipe",
    "trixie": "a Debian 13, for its Python 3.13 and its docker compose",
    "docker": "a dockerd, for the images and compose files",
    "mastodon-mock": "mastodon-mock, a double of Mastodon's API from PyPI",
    "misskey-js": "misskey-js, Misskey's types from npm, and TypeScript's compiler",
    "clients": "clients of Mastodon's API: Mastodon.py and toot from PyPI, masto and megalodon from npm",
    "form-parsers": "parsers of forms: Rack, PHP, Go, werkzeug, Node's busboy and Fastify's",
    "site": "mkdocs, for the documentation as a site",
    "disk": "a small disk, which root mounts, to be filled",
}
ABSENT = frozenset({"docker"})
"""What `--all` goes on without where it does not start: many sandboxes let no container engine run. It says why."""
GROUPS = {
    "long": "fault injection and whole stories, minutes altogether",
    "fuzz": "a share of the fuzzing",
}
ALL = {**SERVERS, **GROUPS}
TIMED = ("timed", True)
"""What the reports of a test say in which time is real (`timed`)."""

_GATES = "support.serving"
_AT_ONCE = ("tests/core/", "tests/contract/", "tests/invariants/")
_Function = TypeVar("_Function", bound=Callable[..., object])
_running: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tests a run takes: those that need no more than `may` but more than `had`; None makes no difference."""

    may: frozenset[str] | None = None
    had: frozenset[str] | None = None
    only: str | None = None  # "alone": those marked `quiet`; "beside": all others

    def lacking(self, needed: frozenset[str]) -> frozenset[str]:
        """Return what a test needs that this run has not."""
        return frozenset() if self.may is None else needed - self.may

    def takes(self, needed: frozenset[str], quiet: bool) -> bool:
        """Whether a test is run."""
        before = self.had is not None and needed <= self.had
        return not self.lacking(needed) and not before and self.only in (None, "alone" if quiet else "beside")


def needs(*names: str) -> Callable[[_Function], _Function]:
    """Say of a fixture, below `pytest.fixture`, what all who use it need."""

    def named(function: _Function) -> _Function:
        function.__dict__["needs"] = names
        return function

    return named


def of(item: pytest.Item) -> frozenset[str]:
    """Return all that a test needs: by its own markers, and by its fixtures."""
    found = {name for mark in item.iter_markers("needs") for name in mark.args}
    found |= {group for group in GROUPS if item.get_closest_marker(group)}
    for fixtures in item._fixtureinfo.name2fixturedefs.values() if isinstance(item, pytest.Function) else ():
        found |= {name for fixture in fixtures for name in getattr(fixture.func, "needs", ())}
    if unknown := found - ALL.keys():
        raise pytest.UsageError(
            f"{item.nodeid} needs {', '.join(sorted(unknown))}, which support/needs.py does not know"
        )
    return frozenset(found)


def sample(items: Iterable[pytest.Item]) -> None:
    """Mark as long what the quick tests leave out of a test's many cases; of few that were asked for, nothing."""
    cases: dict[tuple[str, int], list[pytest.Item]] = {}
    for item in items:
        for mark in item.iter_markers("sampled"):
            cases.setdefault((item.nodeid.partition("[")[0], *mark.args), []).append(item)
    for (_, count), found in cases.items():
        taken = {round(number * (len(found) - 1) / max(1, count - 1)) for number in range(count)}
        for number, item in enumerate(found):
            if number not in taken:
                item.add_marker(pytest.mark.long)


def timed(item: pytest.Item, needed: frozenset[str]) -> bool:
    """Whether time may be real in a test: what it starts has deadlines while others compute.

    In rules, contracts and invariants it is not, but for those with servers or gates.
    """
    if needed & SERVERS.keys() or not item.nodeid.startswith(_AT_ONCE):
        return True
    of_module = vars(item.module).values() if isinstance(item, pytest.Function) else ()
    return any(getattr(value, "__module__", None) == _GATES for value in of_module)


def failed_in_time(report: Any) -> bool:
    """Whether a failure is of a test in which time is real. That a whole process of tests ended is another thing."""
    steps = ("setup", "call", "teardown")
    return getattr(report, "when", None) in steps and TIMED in map(tuple, report.user_properties)


def begin(needed: Iterable[str] | None) -> None:
    """Note what the test that begins may start; None lets everything."""
    global _running
    _running = None if needed is None else frozenset(needed)


def started(name: str) -> None:
    """Called by whatever starts a server. Raises if the running test did not say that it needs it."""
    if _running is not None and name not in _running:
        raise AssertionError(f"this test starts {SERVERS[name]}, and is not marked by needs({name!r})")
