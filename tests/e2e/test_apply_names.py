"""`apply` names what it will remove before it asks, and before it removes anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedi_safety.core.testcard import TEST_CARD_SHA256, draw_test_card
from support.program import check_one_line_error, program
from support.terminal import on_terminal

CARDS = [f"a/{number:02d}.png" for number in range(23)]
ASKED = "Remove them?"


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder with more condemned files than are named, all planned; one has an odd name."""
    folder = tmp_path / "media"
    (folder / "a").mkdir(parents=True)
    card = draw_test_card()
    for key in [*CARDS, "b\tc\n.png"]:
        (folder / key).write_bytes(card)
    done = program("scan", str(folder), "--dry-run", "--act", "delete", "--json")
    assert (done.code, done.json["planned"]) == (0, 24), done
    return folder


def left(media: Path) -> int:
    return sum(path.is_file() for path in media.rglob("*"))


def check_named(said: str, media: Path, rest: str = "`--names FILE` writes all, with their rules") -> None:
    """The head, the count by rule, the first twenty keys alone, and how many more."""
    lines = said.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith(media.as_uri()))
    assert lines[head] == f"{media.as_uri()}: 24 objects to delete, condemned by"
    assert lines[head + 1].split() == ["24", "test", "card"]
    named = lines[head + 3 : head + 23]
    assert len({line.strip() for line in named}) == 20 and all(line.startswith("  ") for line in named)
    assert lines[head + 23] == f"  ... and 4 more; {rest}"


@pytest.mark.long
def test_a_terminal_sees_it_and_is_asked(media: Path) -> None:
    said_no = on_terminal("apply", str(media), answers=((ASKED, "n"),))
    assert (said_no.code, left(media)) == (2, 24), said_no.out
    check_named(said_no.out.partition(ASKED)[0], media)
    said_yes = on_terminal("apply", str(media), answers=((ASKED, "y"),))
    assert (said_yes.code, left(media)) == (0, 0), said_yes.out


@pytest.mark.long
def test_yes_answers_it_and_it_is_named_all_the_same(media: Path) -> None:
    done = on_terminal("apply", str(media), "--yes", answers=())
    assert done.code == 0 and ASKED not in done.out and left(media) == 0
    check_named(done.out, media)


@pytest.mark.long
def test_without_a_terminal_it_is_named_and_written_down_and_done(media: Path, tmp_path: Path) -> None:
    check_one_line_error(program("apply", str(media), "--names", str(tmp_path)), 2, "--names", "directory", "names.tsv")
    assert left(media) == 24
    assert program("dismiss", "a/00.png").code == 0  # it is one content: nothing is left to be removed
    assert program("apply", str(media)).err == "" and left(media) == 24
    assert program("dismiss", "a/00.png", "--undo").code == 0
    undecided = program("apply", str(media))
    assert (undecided.err, left(media)) == ("", 24)
    assert program("scan", str(media), "--dry-run").code == 0
    names = tmp_path / "names.tsv"
    done = program("apply", str(media), "--names", str(names))
    assert (done.code, left(media)) == (0, 0), done
    check_named(done.err, media, f"all are in {names}")
    rows = [line.split("\t") for line in names.read_text("utf-8").splitlines()]
    assert {(row[0], *row[2:]) for row in rows} == {(media.as_uri(), TEST_CARD_SHA256.hex(), "test card")}
    assert sorted(row[1] for row in rows) == sorted([*CARDS, "b\\tc\\n.png"])
    assert done.err.index(f"wrote {names}") < done.err.index("24 objects to delete") < done.err.index("removed a/")


@pytest.mark.long
def test_quiet_leaves_the_log_alone_where_nobody_is_asked(media: Path) -> None:
    done = program("apply", str(media), "--quiet")
    assert (done.code, done.out, left(media)) == (0, "", 0), done
    assert [" fedi_safety.acted: removed " in line for line in done.err.splitlines()] == [True] * 24, done
