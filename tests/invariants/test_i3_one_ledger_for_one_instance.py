"""I3: a person's no is in one place. A person's shell and the daemon's user have one configuration and one ledger; one
that cannot be read is an error, never a second ledger; where there is a second one all the same, it is said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.core.testcard import draw_test_card
from support import stand_in
from support.program import Done, check_one_line_error, program, without_power

READING = (("list",), ("report",), ("show", "card.png"), ("ledger", "verify"), ("policy", "preview"))
WRITING = (("scan", "--dry-run"), ("apply",), ("watch", "--once"), ("dismiss", "card.png"), ("serve", "--port", "1"))
QUICK = ("list", "scan")  # of the many that must do the same


@pytest.fixture
def root() -> Path:
    """The directory that stands for `/`."""
    return Path(os.environ["FEDI_SAFETY_ROOT"])


@pytest.fixture
def home(empty_home: Path) -> Path:
    """Where a person's own ledger would lie."""
    return empty_home / ".local/share/fedi-safety/ledger.db"


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "card.png").write_bytes(draw_test_card())
    return folder


@pytest.fixture
def config(root: Path, media: Path) -> Path:
    """The system's configuration."""
    place = root / "etc/fedi-safety"
    place.mkdir(parents=True)
    return stand_in.write_config(place, media)


@pytest.fixture
def system(root: Path) -> Path:
    """The system's ledger, which is not made yet."""
    place = root / "var/lib/fedi-safety"
    place.mkdir(parents=True)
    return place / "ledger.db"


@pytest.fixture
def closed(config: Path, system: Path) -> Iterator[None]:
    """Neither of them may be looked at."""
    for place in (config.parent, system.parent):
        place.chmod(0o000)
    yield
    for place in (config.parent, system.parent):
        place.chmod(0o755)


def as_others(*arguments: str) -> Done:
    """Run a command as another user would: with another home."""
    return program(*arguments, env={"HOME": "/nonexistent"})


@pytest.mark.long
def test_every_command_of_every_user_prefers_the_systems_place(config: Path, system: Path, home: Path) -> None:
    dry = program("scan", "--dry-run", "--act", "delete")
    assert dry.code == 0 and f"ledger: {system}" in dry.out, dry
    assert not home.exists()
    assert "cleared everywhere" in as_others("dismiss", "card.png").out
    for command in READING:
        done = as_others(*command)
        assert done.code == 0, (command, done)
    real = as_others("scan", "--json")
    assert (real.json["block"], real.json["acted"], real.json["ledger"]) == (0, 0, str(system))
    doctor = as_others("doctor").out
    assert str(system) in doctor and str(config) in doctor


@pytest.mark.long
@pytest.mark.sampled(1)
@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, id=command[0], marks=() if command[0] in QUICK else pytest.mark.long)
        for command in (*READING, *WRITING)
    ],
)
def test_what_cannot_be_read_is_an_error_and_never_a_second_ledger(
    config: Path, system: Path, home: Path, media: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = program(*command, prefix=without_power())
    check_one_line_error(done, 2, str(config), "ermission denied", "--config")
    own = stand_in.write_config(tmp_path, media)
    done = program(*command, "--config", str(own), prefix=without_power())
    check_one_line_error(done, 2, str(system), "ermission denied", "--ledger")
    assert not home.exists()


@pytest.mark.parametrize("broken", ["a link that leads nowhere", "a file", "no ledger"])
def test_a_place_that_is_broken_is_no_reason_for_a_second_one(
    root: Path, media: Path, home: Path, tmp_path: Path, broken: str
) -> None:
    place = root / "var/lib/fedi-safety"
    place.parent.mkdir(parents=True)
    if broken == "a link that leads nowhere":
        place.symlink_to(root / "nowhere/at/all")
        (root / "nowhere").write_text("")
    elif broken == "a file":
        place.write_text("")
    else:
        place.mkdir()
        (place / "ledger.db").write_text("this is no ledger, but it lies where one should")
    own = stand_in.write_config(tmp_path, media)
    done = program("scan", "--dry-run", "--config", str(own))
    check_one_line_error(done, 3 if broken == "no ledger" else 2, str(place))
    assert not home.exists()


def test_a_configuration_that_leads_nowhere_is_not_passed_over(root: Path, media: Path) -> None:
    (root / "etc/fedi-safety").mkdir(parents=True)
    (root / "etc/fedi-safety/config.toml").symlink_to(root / "nowhere.toml")
    check_one_line_error(program("scan", str(media), "--dry-run"), 2, "config.toml", "no such configuration file")


@pytest.mark.long
def test_every_summary_names_the_ledger(media: Path, tmp_path: Path) -> None:
    ledger = str(tmp_path / "named.db")
    common = ("--config", str(stand_in.write_config(tmp_path, media)), "--ledger", ledger)
    commands: tuple[tuple[str, ...], ...] = (
        ("scan", "--dry-run", "--act", "delete"), ("report",), ("policy", "preview"), ("ledger", "verify"),
        ("ledger", "embeddings"), ("dismiss", "card.png"), ("apply",), ("watch", "--once"),
    )  # fmt: skip
    for command in commands:
        assert f"ledger: {ledger}\n" in program(*command, *common).out, command
    for command in (("scan",), ("apply",), ("report",), ("policy", "preview"), ("ledger", "embeddings")):
        assert program(*command, "--json", *common).json["ledger"] == ledger, command


@pytest.mark.long
def test_a_second_ledger_for_a_store_is_said_and_fails_nothing(
    media: Path, home: Path, root: Path, tmp_path: Path
) -> None:
    config = ("--config", str(stand_in.write_config(tmp_path, media)))
    first = program("scan", "--dry-run", "--act", "delete", *config)
    assert (first.code, first.err.count("\n")) == (0, 1) and "condemned card.png" in first.err and home.exists()
    (root / "var/lib/fedi-safety").mkdir(parents=True)
    for command in (("scan", "--dry-run", "--act", "delete"), ("apply",), ("watch", "--once", "--dry-run")):
        done = program(*command, *config)
        assert done.code == 0, done
        assert str(home) in done.err and media.as_uri() in done.err and "--ledger" in done.err, done.err
    # What cannot be read is not known to hold it.
    home.write_text("no ledger any more")
    done = program("scan", "--dry-run", *config)
    assert done.code == 0 and str(home) not in done.err, done


@pytest.mark.long
def test_the_configured_ledger_is_another_one_too(media: Path, tmp_path: Path) -> None:
    config = stand_in.write_config(tmp_path, media)
    usual = tmp_path / "usual.db"
    config.write_text(f'ledger = "{usual}"\n{config.read_text()}')
    assert program("scan", "--dry-run", "--config", str(config)).code == 0
    done = program("scan", "--dry-run", "--config", str(config), "--ledger", str(tmp_path / "mine.db"))
    assert done.code == 0 and str(usual) in done.err, done
