"""Small promises that administrators rely on: loud when it matters, quiet otherwise, and never disarmed by accident."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fedi_safety import __version__
from fedi_safety.core.errors import ExitCode
from fedi_safety.core.testcard import draw_test_card
from support.corpus.photos import jpeg_bytes
from support.program import FACES, FIRST, check_one_line_error, program


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "card.png").write_bytes(draw_test_card())
    (folder / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    return folder


def test_the_version_is_printed() -> None:
    done = program("--version")
    assert (done.code, done.out, done.err) == (0, f"fedi-safety {__version__}\n", "")


@pytest.mark.long
def test_a_dry_run_of_a_part_does_not_disarm_the_first_real_run(media: Path) -> None:
    for part in (["--limit", "1"], ["--prefix", "c"], ["--since", "1h"]):
        assert program("scan", str(media), "--dry-run", *part).code == 0
        check_one_line_error(program("scan", str(media)), 2, "no complete dry run", "--without-dry-run")
    assert program("scan", str(media), "--dry-run").code == 0
    assert program("scan", str(media), "--act", "delete").code == 0
    assert not (media / "card.png").exists()


@pytest.mark.long
def test_a_configured_report_keeps_apply_from_removing(media: Path) -> None:
    program("scan", str(media), "--dry-run")
    check_one_line_error(program("apply", str(media), env={"FEDI_SAFETY_ACT": "report"}), 2, "act = report")
    assert (media / "card.png").exists()


@pytest.mark.long
def test_apply_says_what_it_left_alone_and_that_nothing_is_planned(media: Path) -> None:
    assert "nothing is planned" in program("apply", str(media)).out
    program("scan", str(media), "--dry-run")
    info = (media / "card.png").stat()
    (media / "card.png").write_bytes(jpeg_bytes("coffee", quality=50))
    os.utime(media / "card.png", ns=(info.st_atime_ns, info.st_mtime_ns))
    done = program("apply", str(media), "--act", "delete")
    assert done.code == 0
    assert done.out.splitlines()[0] == "planned 1, removed 0, not removed 0, left alone 1"
    assert "changed since it was judged" in done.err
    assert (media / "card.png").exists()


@pytest.mark.long
def test_quiet_is_silent_except_for_what_must_be_seen(media: Path, tmp_path: Path) -> None:
    done = program("scan", str(media), "--dry-run", "--act", "delete", "--quiet")
    assert done.out == "" and re.fullmatch(r".* fedi_safety\.acted: condemned card\.png .*\n", done.err), done
    config = tmp_path / "config.toml"
    config.write_text("[breaker]\nmax_removed = 0\n")
    done = program("scan", str(media), "--quiet", "--config", str(config))
    assert (done.code, done.out) == (4, "")
    assert "BREAKER" in done.err


@pytest.mark.long
def test_detectors_are_named_with_commas_everywhere(media: Path) -> None:
    env = {"FEDI_SAFETY_DETECTORS": "open_nsfw, nudenet"}
    done = program("scan", str(media), "--dry-run", "--json", env=env)
    assert sorted(done.json["detectors"]) == ["nudenet", "open_nsfw"]
    check_one_line_error(program("doctor", env={"FEDI_SAFETY_BREAKER": "[broken"}), 2, "breaker")


@pytest.mark.long
def test_show_has_the_scores_of_what_is_clear(media: Path) -> None:
    program("scan", str(media), "--dry-run")
    assert "nsfw.open_nsfw = 0." in program("show", "coffee.jpg").out


@pytest.mark.long
def test_no_hit_is_silent(media: Path) -> None:
    """A condemned object is a line at the default level, whatever was asked for; so is its removal."""
    once = ("scan", str(media), "--act", "report", "--quiet", "--fail-on", "condemned")
    told, again = program(*once), program(*once)
    assert told.code == again.code == ExitCode.CONDEMNED, "something is condemned, judged now or before"
    assert told.err.count("condemned card.png (test card), sha256 ") == 1, told
    assert again.err == "", "a line each, not at each pass"
    assert program("scan", str(media), "--act", "report", "--quiet").code == ExitCode.DONE
    done = program("scan", str(media), *FIRST, "--quiet", "--fail-on", "condemned")
    assert done.code == ExitCode.CONDEMNED
    assert "removed card.png (test card): verified" in done.err
    assert "alembic" not in done.err
    clear = program("scan", str(media), *FIRST, "--quiet", "--fail-on", "condemned")
    assert (clear.code, clear.err) == (ExitCode.DONE, "")


@pytest.mark.long
def test_more_detectors_than_before_look_again(media: Path, tmp_path: Path) -> None:
    """A verdict given without the face finder must not stand once there is one."""
    (media / "portrait.jpg").write_bytes(jpeg_bytes("astronaut"))
    policy = tmp_path / "faces.toml"
    policy.write_text(FACES)
    few = program("scan", str(media), "--dry-run", "--policy", str(policy), "--detectors", "open_nsfw", "--json")
    assert few.json["block"] == 1  # the test card alone
    more = program("scan", str(media), "--dry-run", "--policy", str(policy), "--json")
    assert more.json["block"] == 2
    assert (more.json["judged"], more.json["already_judged"]) == (3, 0)
