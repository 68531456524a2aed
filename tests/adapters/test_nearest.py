"""What there is not is answered in one line, with what there is or with the nearest, and exit code 2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fedi_safety.cli import run
from fedi_safety.core.wording.nearest import did_you_mean

SOURCES = Path(__file__).parents[2] / "src/fedi_safety"
STORES = '[[stores]]\nname = "media"\nurl = "/srv/media"\n[[stores]]\nname = "thumbs"\nurl = "/srv/thumbs"\n'
GATES = "[[worker.gates]]\nname = 'homes'\nurl = 'http://a:1'\n"
ANSWERS = ("--store", ".", "--detectors", "embedded", "--act", "report", "--config", "new.toml")
NOBODY = "~nobody-of-this-name/x"


@pytest.mark.parametrize(
    ("written", "known", "said"),
    [
        ("polcy", ("policy", "store"), " (did you mean policy?)"),
        ("MEDIA", ("media", "thumbs"), " (did you mean media?)"),
        ("x", ("policy", "store"), ""),
        ("", ("policy",), ""),
        ("policy" * 100_000, ("policy",), ""),
        ("policy", (), ""),
    ],
)
def test_the_nearest_word(written: str, known: tuple[str, ...], said: str) -> None:
    assert did_you_mean(written, known) == said


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.chdir(tmp_path)

    def line(arguments: list[str], config: str = "") -> str:
        file = tmp_path / "config.toml"
        file.write_text(config)
        bare = arguments[0] == "completion" or "--config" in arguments
        named = [] if bare else ["--config", str(file)]
        named += [] if bare or "--ledger" in arguments else ["--ledger", str(tmp_path / "ledger.db")]
        assert run([*arguments, *named]) == 2, arguments
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1, said
        return said.err.strip()

    return line


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    ("arguments", "config", "said"),
    [
        (["scna"], "", "did you mean 'scan'"),
        (["policy", "chek"], "", "did you mean 'check'"),
        (["scan", "--dryrun"], "", "--dry-run"),
        (["report"], "polcy = 'x'\n", "polcy: unknown key (did you mean policy?)"),
        (["report"], "[limits]\nmax_byte = 1\n", "limits.max_byte: unknown key (did you mean max_bytes?)"),
        (["report"], "[trce]\nserver = 'x'\n", "trce: unknown key (did you mean trace?)"),
        (["report"], f"{STORES}keys3 = 1\n", "stores.1.keys3: unknown key"),
        (["report"], f"{STORES}[stores.trace]\nservr = 'x'\n", "servr: unknown key (did you mean server?)"),
        (["report"], "device = 'cdua'\n", "not 'cdua' (did you mean cuda?)"),
        (["scan", "medai"], STORES, "there is no such directory; name one of: media, thumbs (did you mean media?)"),
        (["list", "medai"], STORES, "there is no ledger"),
        (["scan", "sfpt://x/y"], "", "s3, pictrs+http, pictrs+https:// (did you mean sftp?)"),
        (["scan", ".", "--dry-run", "--detectors", "embeded"], "", "(did you mean embedded?)"),
        (["scan", ".", "--policy", "balanzed"], "", "(cautious, balanced, strict) (did you mean balanced?)"),
        (["scan", ".", "--dry-run"], "[trace]\nserver = 'mastdon'\n", "(did you mean mastodon?)"),
        (["scan", "."], "[trace]\nserver = 'mastdon'\nactions = ['report']\n", "no such server is known"),
        (["scan", "."], "[trace]\nserver = 'lemmy'\nactions = ['reprt']\n", "(did you mean report?)"),
        (["list", "--state", "remvoed"], "", "(did you mean removed?)"),
        (["list", "--verdict", "blok"], "", "'blok' is not one of 'clear', 'review', 'block'"),
        (["worker", "home"], GATES, "name one of: homes, or give a URL (did you mean homes?)"),
        (["init", *ANSWERS, "--server", "mastdon"],
         "", "did you mean mastodon?"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_answered_with_what_there_is(
    refused: object, arguments: list[str], config: str, said: str
) -> None:
    assert callable(refused)
    line = refused(arguments, config)
    assert said.casefold() in line.casefold() and "Value error" not in line


def test_a_misspelt_variable(refused: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(refused)
    monkeypatch.setenv("FEDI_SAFETY_POLCY", "x")
    assert "FEDI_SAFETY_POLCY: unknown variable (did you mean FEDI_SAFETY_POLICY?)" in refused(["report"])


# --- a home that nobody knows


@pytest.mark.parametrize(
    ("arguments", "config"),
    [
        (["models", "list", "--model-dir", NOBODY], ""),
        (["models", "import", NOBODY], ""),
        (["models", "export", "ViT-B-32", "--weights", NOBODY], ""),
        (["concepts", "check", NOBODY], ""),
        (["concepts", "learn", "mine", "--output", NOBODY], ""),
        (["policy", "check"], f"detectors = ['clip']\nclip = {{ learned = ['{NOBODY}'] }}\n"),
        (["scan", ".", "--dry-run", "--detectors", "clip", "--concepts", NOBODY], ""),
        (["report", "--ledger", NOBODY], ""),
    ],
)
def test_a_home_that_nobody_knows_is_one_line(refused: object, arguments: list[str], config: str) -> None:
    assert callable(refused)
    assert "whose home directory that is nobody knows here" in refused(arguments, config)


def test_homes_are_looked_up_in_one_place() -> None:
    """`Path.expanduser` raises what is no error of ours; `os.path.expanduser` leaves the path as it is."""
    found = [
        path.relative_to(SOURCES).as_posix()
        for path in sorted(SOURCES.rglob("*.py"))
        if re.search(r"(?<!os\.path)\.expanduser\(|Path\.home\(", path.read_text("utf-8"))
    ]
    assert found == ["config/locations.py"]
