"""The systemd units: systemd's own verdict on them, and that the program takes the arguments that they give."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from support.program import check_one_line_error, program

HERE = Path(__file__).parents[2]
PACKAGING = HERE / "packaging"
UNIT = PACKAGING / "fedi-safety.service"
ONCE, TIMER = PACKAGING / "fedi-safety-scan.service", PACKAGING / "fedi-safety-scan.timer"
INSTALLED = "/opt/fedi-safety/fedi-safety"
EXPOSURE_TENTHS = 40  # of 100; below 50 systemd calls it OK


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("systemd-analyze")
    assert found is not None, "systemd-analyze is missing (Debian: apt-get install systemd)"
    return subprocess.run([found, *arguments], capture_output=True, text=True, timeout=60, check=False)


def written(folder: Path, text: str, name: str = UNIT.name) -> str:
    """Write a unit with the launcher of this clone, which is where systemd looks for it."""
    path = folder / name
    path.write_text(text.replace(INSTALLED, str(HERE / "fedi-safety")))
    return str(path)


@pytest.fixture
def unit() -> str:
    return UNIT.read_text()


@pytest.mark.needs("systemd")
def test_systemd_finds_nothing_wrong(tmp_path: Path, unit: str) -> None:
    done = analyze("verify", "--man=no", written(tmp_path, unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.needs("systemd")
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("WatchdogSec=120", "WatchdogSeconds=120"), ("Type=notify", "Type=notifying"), (INSTALLED, "/opt/no/such")],
)
def test_it_would_say_so_otherwise(tmp_path: Path, unit: str, right: str, wrong: str) -> None:
    assert right in unit
    done = analyze("verify", "--man=no", written(tmp_path, unit.replace(right, wrong)))
    assert done.returncode != 0 or done.stderr != ""


@pytest.mark.needs("systemd")
def test_the_service_is_locked_in_as_far_as_it_can_be(unit: str, tmp_path: Path) -> None:
    asked = ("security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE_TENTHS}")
    done = analyze(*asked, written(tmp_path, unit))
    assert done.returncode == 0, done.stdout[-300:]
    assert analyze(*asked, written(tmp_path, re.sub(r"(?m)^(Protect|Restrict|Private).*$", "", unit))).returncode != 0


@pytest.mark.long
def test_the_program_takes_what_the_unit_gives_it(unit: str) -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    place, *arguments = shlex.split(line)
    assert place == INSTALLED
    # All of it is understood; what is missing on this machine is the runtime directory that systemd makes.
    check_one_line_error(program(*arguments, env={"FEDI_SAFETY_STORE": "/tmp"}), 2, "--health-file")


@pytest.mark.needs("systemd")
def test_a_pass_every_night_is_as_locked_in_and_starts(tmp_path: Path) -> None:
    once = ONCE.read_text()
    place, timer = written(tmp_path, once, ONCE.name), written(tmp_path, TIMER.read_text(), TIMER.name)
    done = analyze("verify", "--man=no", place, timer)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    asked = ("security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE_TENTHS}")
    assert analyze(*asked, place).returncode == 0


@pytest.mark.long
def test_a_pass_every_night_has_the_daemons_rights_and_the_program_takes_its_words() -> None:
    def rights(text: str) -> list[str]:
        kinds = "Protect|Private|Restrict|ReadWrite|Capability|Lock|NoNew|System|UMask|MemorySwap|StateDir|Limit"
        return sorted(re.findall(rf"(?m)^(?:{kinds})\w*=.*$", text))

    once = ONCE.read_text()
    assert rights(once) == rights(UNIT.read_text())
    (line,) = re.findall(r"^ExecStart=(.*)$", once, re.MULTILINE)
    place, *arguments = shlex.split(line)
    assert place == INSTALLED
    check_one_line_error(program(*arguments, "--config", "/no/such.toml"), 2, "/no/such.toml")
