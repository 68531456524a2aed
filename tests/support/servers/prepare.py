"""Makes the real servers of the tests ready: installs, downloads and builds what is missing.

The first time takes about half an hour on two cores (pict-rs is built from source); later it is instant, because what
is built is kept in the user's cache directory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from support import needs
from support.servers import (
    axe,
    clients,
    debian,
    disk,
    docker,
    form_parsers,
    lemmy,
    mastodon_mock,
    misskey_types,
    pictrs,
    s3,
    site,
    trixie,
)  # fmt: skip
from support.servers.debian import Unready

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """How one thing is made ready: `check` says whether it is, or raises Unready where it cannot be."""

    name: str
    check: Callable[[], bool]
    make: Callable[[Say], object]


def _package(name: str, package: str, *programs: str) -> Step:
    return Step(name, partial(debian.check, programs, package), partial(debian.need, programs, package))


# What takes longest comes last, so that the tests of all others need not wait for it.
STEPS = {
    step.name: step
    for step in (
        _package("sftp", "openssh-server", "sshd", "ssh-keygen", "ssh-agent", "ssh-add"),
        _package("postgresql", "postgresql", "initdb", "postgres"),
        _package("pgbouncer", "pgbouncer", "pgbouncer"),
        _package("age", "age", "age", "age-keygen"),
        _package("nginx", "nginx-light", "nginx"),
        _package("caddy", "caddy", "caddy"),
        _package("apache", "apache2-bin", "apache2"),  # no service comes with it
        _package("curl", "curl", "curl"),
        _package("minisign", "minisign", "minisign"),
        _package("systemd", "systemd", "systemd-analyze"),
        _package("chromium", "chromium", "chromium"),
        Step("axe", axe.check, axe.build),
        Step("mastodon-mock", mastodon_mock.check, mastodon_mock.build),
        Step("misskey-js", misskey_types.check, misskey_types.build),
        Step("clients", clients.check, clients.build),
        Step("form-parsers", form_parsers.check, form_parsers.build),
        Step("site", site.check, site.install),
        Step("disk", disk.check, lambda _: disk.check()),
        Step("s3", s3.check, lambda _: s3.build()),
        Step("debian", partial(debian.check_root, "bookworm"), lambda say: debian.root("bookworm", say=say)),
        Step("docker", docker.check, docker.make),
        Step("trixie", trixie.check, trixie.make),
        Step("lemmy", lemmy.check, lemmy.build),
        Step("pictrs", pictrs.check, pictrs.build),
    )
}


def missing(names: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Return which of these must be made ready, in order, and a line for each that cannot be on this machine."""
    wanted: list[str] = []
    lines: dict[str, str] = {}
    asked = frozenset(names)
    for name, step in STEPS.items():
        if name in asked:
            try:
                if not step.check():
                    wanted.append(name)
            except Unready as why:
                lines[name] = refusal(name, why)
    return wanted, lines


def refusal(name: str, why: Unready) -> str:
    """Return the line that names the thing, the cause and the remedy."""
    return f"{name} ({needs.SERVERS[name]}) cannot be had: {why}"


def make(name: str, say: Say) -> None:
    """Make one ready, and say so. Raises Unready if that fails."""
    started = time.monotonic()
    STEPS[name].make(say)
    say(f"prepared {name} ({needs.SERVERS[name]}) in {time.monotonic() - started:.0f} s")
