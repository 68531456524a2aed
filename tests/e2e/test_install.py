"""`pip install .` gives the same program: the wheel holds the presets, the migrations and both commands."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fedi_safety import __version__
from support.corpus.photos import jpeg_bytes

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.long
def test_the_wheel_holds_everything_the_program_needs(tmp_path: Path) -> None:
    pip = next((ROOT / "tools").glob("pip-*.whl")) / "pip"
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    # The working tree, not the last commit, is what is tested.
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [
            sys.executable,
            str(pip),
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(tmp_path),
            str(source),
        ],
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(installed)
        entry_points = archive.read(f"fedi_safety-{__version__}.dist-info/entry_points.txt").decode()
        metadata = archive.read(f"fedi_safety-{__version__}.dist-info/METADATA").decode()
    assert "fedi-safety = fedi_safety.__main__:main" in entry_points
    assert "fedi_safety_local_storage = " in entry_points
    assert "License-Expression: AGPL-3.0-or-later" in metadata
    assert "fedi_safety/policies/balanced.toml" in names
    assert not any(name.startswith(("tests", "bench", "tools")) for name in names)
    media = tmp_path / "media"
    media.mkdir()
    (media / "a").write_bytes(jpeg_bytes("coffee"))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fedi_safety", "scan", str(media), "--dry-run", "--json"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"judged": 1' in done.stdout
