"""The program as a package: from a wheel, from an sdist in a fresh environment, on another Python, and gone again."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedi_safety import __version__
from support.corpus.photos import jpeg_bytes
from support.servers import debian, trixie

ROOT = Path(__file__).parents[2]
PIP = next((ROOT / "tools").glob("pip-*.whl")) / "pip"
COMMANDS = {"fedi-safety", "fedi_safety_local_storage", "fedi_safety_object_storage", "fedi_safety_remote_storage"}


@dataclass(frozen=True)
class Built:
    """What is given to others: made from the working tree, not from the last commit."""

    wheel: Path
    sdist: Path


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command that knows nothing of the tests' own packages."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done
    assert isinstance(done, subprocess.CompletedProcess)
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    place = tmp_path_factory.mktemp("built")
    source = place / "source"
    run("git", "clone", "-q", ROOT, source)
    listed = run("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    run(sys.executable, "-m", "hatchling", "build", "-d", place, cwd=source)
    (wheel,), (sdist,) = place.glob("*.whl"), place.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    return folder


@pytest.mark.long
def test_the_wheel_holds_everything_the_program_needs(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(f"fedi_safety-{__version__}.dist-info/entry_points.txt").decode()
        metadata = archive.read(f"fedi_safety-{__version__}.dist-info/METADATA").decode()
    assert "fedi-safety = fedi_safety.__main__:main" in entry_points
    assert "License-Expression: AGPL-3.0-or-later" in metadata
    assert {"fedi_safety/policies/balanced.toml", "fedi_safety/concepts/default.toml"} <= set(names)
    assert not any(name.startswith(("tests", "bench", "tools")) for name in names)


@pytest.mark.long
def test_an_sdist_installs_in_a_fresh_environment_and_goes_without_a_trace(
    built: Built, media: Path, tmp_path: Path
) -> None:
    """What it needs of others is lent from the tests' own environment; the next test installs it all."""
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "LICENSE",
        "README.md",
        "requirements.lock",
        "docs/install.md",
        "src/fedi_safety/policies/balanced.toml",
    } <= names
    fresh = tmp_path / "fresh"
    run(sys.executable, "-m", "venv", "--without-pip", fresh)
    packages = Path(
        run(fresh / "bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    )
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib"))
    before = sorted(path for path in fresh.rglob("*") if "__pycache__" not in path.parts)
    pip = (sys.executable, PIP, "--python", fresh / "bin/python", "-q")
    run(*pip, "install", "--no-deps", "--no-build-isolation", built.sdist)
    made = {path for path in fresh.rglob("*") if path.is_file()}
    assert {fresh / "bin" / name for name in COMMANDS} <= made and fresh / "share/man/man1/fedi-safety.1" in made
    done = run(fresh / "bin/fedi-safety", "scan", media, "--dry-run", "--json", "--ledger", tmp_path / "ledger.db")
    assert json.loads(done.stdout.splitlines()[-1])["judged"] == 1
    assert run(fresh / "bin/fedi-safety", "--version").stdout == f"fedi-safety {__version__}\n"
    where = "import fedi_safety; print(fedi_safety.__file__)"
    assert run(fresh / "bin/python", "-P", "-c", where).stdout.startswith(str(packages))
    run(*pip, "uninstall", "-y", "fedi-safety")
    left = [path for path in fresh.rglob("*") if "__pycache__" not in path.parts and not path.is_dir()]
    assert sorted(left) == [path for path in before if not path.is_dir()]


@pytest.mark.needs("trixie")
@pytest.mark.long
def test_another_python_installs_it_all_and_judges(built: Built, media: Path) -> None:
    """A clean Debian 13 with its Python: every locked package, the wheel, the self-test, and a scan."""
    root = trixie.root()
    with (debian.CACHE / "trixie-install.lock").open("w") as lock:  # two test runs at once share the place
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = root / "srv/install"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for path in (built.wheel, PIP.parent, ROOT / "requirements.lock", media / "coffee.jpg"):
            shutil.copy(path, place)
        env = debian.network(root)
        script = f"""set -e
            python{trixie.PYTHON} -m venv --without-pip env
            pip() {{ env/bin/python {PIP.parent.name}/pip install -q --no-compile --no-deps --only-binary :all: "$@"; }}
            pip --require-hashes -r requirements.lock
            pip {built.wheel.name}
            mkdir media && mv coffee.jpg media/
            env/bin/python -c 'import sys; assert sys.version_info[:2] == ({trixie.PYTHON.replace(".", ", ")})'
            env/bin/fedi-safety self-test >&2
            env/bin/fedi-safety scan media --dry-run --json"""
        done = debian.inside(root, script, {**env, "HOME": "/srv/install"}, "/srv/install", seconds=300)
        shutil.rmtree(place, ignore_errors=True)
    assert done.returncode == 0, done
    assert json.loads(done.stdout.splitlines()[-1])["judged"] == 1
    assert "the ledger's chain of" in done.stderr, done
