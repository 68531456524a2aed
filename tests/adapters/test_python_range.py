"""The first start takes a Python that every locked package has wheels for, and names the range where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = '. "$1"; find_python'


def python(folder: Path, name: str, version: str) -> Path:
    """Write a stand-in that has a version, and can say nothing else."""
    path = folder / name
    set_version = f"import sys; sys.version_info = ({version.replace('.', ', ')})"
    path.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = --version ] && echo Python {version}.0 && exit 0\n'
        f'exec {sys.executable} -c "{set_version}; exec(sys.argv[1])" "$2"\n'
    )
    path.chmod(0o755)
    return path


def found(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-c", SCRIPT, "bash", str(ROOT / "tools/venv.sh")],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ({"python3": "3.11"}, "python3"),
        ({"python3": "3.14"}, "python3"),
        ({"python3": "3.10", "python3.12": "3.12"}, "python3.12"),
        ({"python3": "3.15", "python3.13": "3.13"}, "python3.13"),
    ],
)
def test_the_first_that_fits_is_taken(tmp_path: Path, there: dict[str, str], taken: str) -> None:
    for name, version in there.items():
        python(tmp_path, name, version)
    assert found(tmp_path).stdout.strip() == str(tmp_path / taken)


@pytest.mark.parametrize("version", ["3.10", "3.15"])
def test_too_old_and_too_new_are_one_line_with_the_range(tmp_path: Path, version: str) -> None:
    python(tmp_path, "python3", version)
    done = found(tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"needs Python 3.11 to 3.14 and found Python {version}.0" in line and "docs/install.md" in line


@pytest.mark.parametrize(("now", "anew"), [("python3.11", False), ("python3.13", True)])
def test_a_system_s_upgrade_below_the_environment_makes_it_anew(tmp_path: Path, now: str, anew: bool) -> None:
    """Its packages were for the Python before; left as it is, every command would end in a traceback."""
    bin_, packages = tmp_path / ".venv/bin", tmp_path / ".venv/lib/python3.11/site-packages"
    for folder in (bin_, packages, tmp_path / "system"):
        folder.mkdir(parents=True)
    link = bin_ / "python"
    link.symlink_to(python(tmp_path / "system", now, now.removeprefix("python")))
    for name in ("requirements.lock", ".venv/.installed-requirements.lock"):
        (tmp_path / name).write_text("the same")
    script = '. "$1"; find_python() { echo "FOUND" >&2; return 1; }; ensure_venv "$2" requirements.lock'
    done = subprocess.run(
        ["/bin/bash", "-c", script, "bash", str(ROOT / "tools/venv.sh"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()) == ((2, ["FOUND"]) if anew else (0, [])), done
