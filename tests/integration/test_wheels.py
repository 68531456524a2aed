"""Every package of the lock has a wheel for each Python and processor that docs/install.md names.

Asks the index that pip is set to for the names of the files whose hashes the lock has. Installs nothing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from packaging import tags
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[2]
PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
PROCESSORS = ("x86_64", "aarch64")
_LOCKED = re.compile(r"^(\S+==[^\\\n]+?) \\\n((?:    --hash=sha256:\w+(?: \\)?\n)+)", re.MULTILINE)


def locked() -> list[tuple[Requirement, frozenset[str]]]:
    """Return each package of the lock with the hashes of its files."""
    found = _LOCKED.findall((ROOT / "requirements.lock").read_text("utf-8"))
    return [(Requirement(one), frozenset(re.findall(r"sha256:(\w+)", hashes))) for one, hashes in found]


def index() -> str:
    """Return the address of the index that pip asks."""
    if address := os.environ.get("PIP_INDEX_URL"):
        return address
    (wheel,) = (ROOT / "tools").glob("pip-*.whl")
    said = subprocess.run(
        [sys.executable, f"{wheel}/pip", "config", "get", "global.index-url"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if said.returncode == 0:
        return said.stdout.strip()
    script = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    own = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(wheel)}, capture_output=True, text=True
    )
    return own.stdout.strip()


def wheels(client: httpx.Client, package: Requirement, hashes: frozenset[str]) -> list[str]:
    """Return the names of a package's wheels that the lock takes."""
    answer = client.get(f"{package.name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    answer.raise_for_status()
    if "json" in answer.headers["content-type"]:
        files = [(one["filename"], one["hashes"].get("sha256", "")) for one in json.loads(answer.text)["files"]]
    else:
        files = re.findall(r'href="[^"#]*?([^/"#]+)#sha256=(\w+)"', answer.text)
    return [name for name, sha256 in files if sha256 in hashes and name.endswith(".whl")]


def fitting(python: tuple[int, int], processor: str) -> set[tags.Tag]:
    """Return the tags of the wheels that pip would take there, with the glibc of Debian 12."""
    platforms = [f"manylinux_2_{minor}_{processor}" for minor in range(36, 16, -1)] + [f"manylinux2014_{processor}"]
    if processor == "x86_64":
        platforms += [f"manylinux_2_{minor}_x86_64" for minor in range(16, 4, -1)]
        platforms += ["manylinux2010_x86_64", "manylinux1_x86_64"]
    found = set(tags.cpython_tags(python, platforms=platforms))
    return found | set(tags.compatible_tags(python, f"cp{python[0]}{python[1]}", platforms))


def lacking(packages: list[Requirement], names: list[list[str]], python: tuple[int, int], processor: str) -> list[str]:
    """Return the packages that are wanted there and have no wheel for it."""
    version = f"{python[0]}.{python[1]}"
    here = {"python_version": version, "python_full_version": f"{version}.0", "platform_machine": processor}
    wanted: dict[str, str | AbstractSet[str]] = {name: str(value) for name, value in default_environment().items()}
    wanted.update(here)
    fits = fitting(python, processor)
    return [
        f"{package.name} for {version} on {processor}"
        for package, own in zip(packages, names, strict=True)
        if (package.marker is None or package.marker.evaluate(wanted))
        and not any(parse_wheel_filename(name)[3] & fits for name in own)
    ]


@pytest.mark.long
def test_every_locked_package_has_a_wheel_for_each_python_and_processor() -> None:
    found = locked()
    assert len(found) > 60
    base = index().rstrip("/") + "/"
    with httpx.Client(base_url=base, timeout=60, follow_redirects=True) as client, ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda one: wheels(client, *one), found))
    packages = [package for package, _ in found]
    assert [one for p in PYTHONS for cpu in PROCESSORS for one in lacking(packages, names, p, cpu)] == []
    assert lacking(packages, names, (3, 10), "x86_64") != [], "a Python that is too old for some of them"
    assert lacking(packages, names, (3, 12), "armv7l") != []
