"""Whoever's shell or timer starts the program: the locale decides neither keys nor what is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import stand_in
from support.corpus.photos import jpeg_bytes

REPOSITORY = Path(__file__).parents[2]
NAMES = [b"caf\xc3\xa9.jpg", b"caf\xe9.jpg", b"\xf0\x9f\x90\x98.jpg"]
STARTERS = {
    "module": [sys.executable, "-P", "-m", "fedi_safety"],
    "console script": [sys.executable, "-c", "import sys; from fedi_safety.__main__ import main; sys.exit(main())"],
    "switched off": [sys.executable, "-X", "utf8=0", "-P", "-m", "fedi_safety"],
}
PLAIN = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str] | None:
    """An environment with a Latin-1 locale, where one can be made."""
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/charmaps").exists():
        return None
    folder = tmp_path_factory.mktemp("locales")
    subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US.ISO-8859-1")], check=False)
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}


def run(starter: list[str], environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LC_") and k not in ("LANG", "PYTHONUTF8")}
    return subprocess.run(
        [*starter, *arguments], env=clean | environment, capture_output=True, timeout=120, check=False
    )


@pytest.mark.long
def test_every_locale_and_every_starter_sees_the_same_objects(tmp_path: Path, latin_1: dict[str, str] | None) -> None:
    media = tmp_path / "caf\udce9"  # the store's own name as well
    media.mkdir()
    for number, name in enumerate(NAMES):
        Path(os.fsdecode(os.fsencode(media) + b"/" + name)).write_bytes(jpeg_bytes("coffee", size=200 + number))
    ledger, config = str(tmp_path / "ledger.db"), str(stand_in.write_config(tmp_path))
    runs = [(starter, PLAIN) for starter in STARTERS]
    runs += [("module", {"LC_ALL": "C.UTF-8"}), ("module", {"PYTHONIOENCODING": "ascii"} | PLAIN)]
    runs += [] if latin_1 is None else [("module", latin_1)]
    for turn, (starter, environment) in enumerate(runs):
        done = run(
            STARTERS[starter],
            environment,
            "scan",
            str(media),
            "--dry-run",
            "--json",
            "--ledger",
            ledger,
            "--config",
            config,
        )
        assert done.returncode == 0, (starter, environment, done.stderr)
        said = json.loads(done.stdout.splitlines()[-1])
        assert (said["listed"], said["already_judged"]) == (3, 3 if turn else 0), (starter, environment)
        listed = run(STARTERS[starter], environment, "list", "--ledger", ledger)
        assert listed.returncode == 0, (starter, environment, listed.stderr)
        text = listed.stdout.decode("utf-8")
        assert "caf\u00e9.jpg" in text
        assert "caf\\udce9.jpg" in text
        assert "\U0001f418.jpg" in text


@pytest.mark.sampled(1)
@pytest.mark.parametrize("encoding", ["ascii", "utf-16", "utf-8:strict"])
def test_what_is_typed_and_said_is_no_internal_error_whatever_the_encoding(tmp_path: Path, encoding: str) -> None:
    """A key that is no UTF-8, in an argument, in a question and in an answer: said with escapes, never a bug."""
    environment = PLAIN | {"PYTHONIOENCODING": encoding, "HOME": str(tmp_path)}
    name = os.fsdecode(b"caf\xe9 \xf0\x9f\x90\x98")
    for arguments in (["list", "--ledger", name], ["scan", name, "--dry-run"]):
        done = run(STARTERS["module"], environment, *arguments)
        assert (done.returncode, b"internal error" in done.stderr) == (2, False), (arguments, done.stderr)
        assert b"Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1, (arguments, done.stderr)
    script = "import sys; from fedi_safety.cli.text.streams import speak_utf8; speak_utf8();"
    script += "from fedi_safety.cli.shell import Shell; print(Shell(None, False, False).answer('caf\\u00e9?'))"
    command = [sys.executable, "-c", script]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LC_") and k != "LANG"}
    done = subprocess.run(
        command, env=clean | environment, input=b"\xe9\n", capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\udce9\n", "caf\u00e9? ".encode())


def test_the_launcher_and_the_old_scripts_speak_utf8(tmp_path: Path) -> None:
    said = tmp_path / "said"
    folder = tmp_path / "checkout"
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/lib/python").mkdir(parents=True)  # the packages of the Python that is started
    (folder / "tools").mkdir()
    shutil.copy(REPOSITORY / "fedi-safety", folder)
    shutil.copy(REPOSITORY / "tools/venv.sh", folder / "tools")
    for name in ("requirements.lock", ".venv/.installed-requirements.lock"):
        (folder / name).write_text("")
    stand_in = folder / ".venv/bin/python"
    stand_in.write_text(f'#!/bin/sh\necho "$PYTHONUTF8 $*" >>{said}\n')
    stand_in.chmod(0o755)
    scripts = [path.name for path in REPOSITORY.glob("*_safety_*.py")]
    assert len(scripts) == 4
    for name in scripts:
        shutil.copy(REPOSITORY / name, folder)
        assert run([sys.executable, str(folder / name)], PLAIN).returncode == 0
    assert run([str(folder / "fedi-safety")], PLAIN, "list").returncode == 0
    lines = said.read_text().splitlines()
    assert len(lines) == 5
    assert all(line.startswith("1 -P -m fedi_safety") for line in lines)
