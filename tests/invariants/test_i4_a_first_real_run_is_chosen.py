"""I4, from its other side: nothing is removed from a store at first that nobody has seen in a dry run, nor by an act
that nobody chose, unless a person says so; `--yes` does not.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fedi_safety.app.apply import apply
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import ActKind
from fedi_safety.core.testcard import draw_test_card
from support import stand_in
from support.fakes import FakeStore
from support.passes import RED_CIRCLE, Bench
from support.program import Done, check_one_line_error, program
from support.terminal import on_terminal

DOORS = {"scan": ("scan",), "watch": ("watch", "--once")}
CHOICE, AGREED = "Your choice", "Remove without a dry run?"


class Instance:
    """A store with a card that every policy condemns, and a configuration."""

    def __init__(self, folder: Path) -> None:
        self.media = folder / "media"
        self.media.mkdir()
        self.card = self.media / "card.png"
        self.config = stand_in.write_config(folder)
        self.restore()

    def restore(self) -> None:
        self.card.write_bytes(draw_test_card())

    @property
    def intact(self) -> bool:
        return self.card.exists()

    def arguments(self, *command: str) -> tuple[str, ...]:
        return (*command, str(self.media), "--config", str(self.config))

    def run(self, *command: str, env: dict[str, str] | None = None) -> Done:
        return program(*self.arguments(*command), env=env)

    def refused(self, *command: str, words: tuple[str, ...] = ()) -> None:
        check_one_line_error(self.run(*command), 2, str(self.media), *words)
        assert self.intact, command


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return Instance(tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("door", ["scan", "watch"])
def test_every_door_needs_a_dry_run_and_an_act(instance: Instance, door: str) -> None:
    command = DOORS[door]
    instance.refused(*command, words=("--dry-run", "--without-dry-run", "--act delete", "ledger.db"))
    instance.refused(*command, "--yes", words=("--without-dry-run", "--act delete"))
    instance.refused(*command, "--without-dry-run", words=("--act delete",))
    instance.refused(*command, "--act", "delete", words=("no complete dry run",))
    done = instance.run(*command, "--act", "delete", "--without-dry-run")
    assert done.code == 0 and not instance.intact, done
    # It was not the first any more, and its act is remembered.
    instance.restore()
    assert instance.run(*command).code == 0 and not instance.intact


@pytest.mark.long
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("how", ["the dry run's own", "configured", "an option"])
def test_an_act_can_be_chosen_in_three_ways(instance: Instance, door: str, how: str) -> None:
    own = ("--act", "delete")
    assert instance.run("scan", "--dry-run", *(own if how == "the dry run's own" else ())).code == 0
    if how != "the dry run's own":
        instance.refused(*DOORS[door], words=("nobody has chosen", "--act delete"))
    env = {"FEDI_SAFETY_ACT": "delete"} if how == "configured" else {}
    done = instance.run(*DOORS[door], *(own if how == "an option" else ()), env=env)
    assert done.code == 0 and not instance.intact, done


@pytest.mark.long
def test_a_real_run_of_a_part_shows_as_little_as_a_dry_run_of_one(instance: Instance) -> None:
    assert instance.run("scan", "--prefix", "nothing", "--act", "delete", "--without-dry-run").code == 0
    instance.refused("scan", words=("no complete dry run",))


@pytest.mark.long
def test_leaving_everything_needs_no_word_and_is_no_choice(instance: Instance) -> None:
    assert instance.run("scan", "--act", "report").code == 0
    instance.refused("scan", words=("no complete dry run", "nobody has chosen"))


@pytest.mark.long
def test_apply_needs_the_act_alone(instance: Instance) -> None:
    assert "nothing is planned" in instance.run("apply").out
    assert instance.run("scan", "--dry-run", "--prefix", "card").code == 0
    instance.refused("apply", words=("--act delete",))
    instance.refused("apply", "--yes", words=("--act delete",))
    done = instance.run("apply", "--act", "delete")
    assert done.code == 0 and not instance.intact, done


@pytest.mark.long
def test_the_predecessors_names_imply_both(instance: Instance) -> None:
    env = {"PICTRS_FILES_DIRECTORY": str(instance.media)}
    done = program("fedi_safety_local_storage", "--all", "--config", str(instance.config), env=env)
    assert done.code == 0 and not instance.intact, done


def test_what_a_dry_run_planned_by_default_is_carried_out_as_somebody_chose(tmp_path: Path) -> None:
    class OfPictrs(FakeStore):
        default_act = ActKind.PURGE
        owner = "http://pictrs"

    store = OfPictrs({"a": RED_CIRCLE, "b": RED_CIRCLE + b" again"})
    bench = Bench(tmp_path / "ledger.db", store)
    try:
        bench.scan(dry_run=True, act=ActKind.DELETE)
        assert {row.act for row in bench.rows()} == {ActKind.DELETE}
        report = apply(Settings(act="purge"), ledger=bench.ledger, store=store)
        assert (report.tally.acted, report.tally.failed) == (2, 0)
        done = [plan["act"] for key in ("a", "b") if (shown := bench.ledger.show(key)) for plan in shown.plans]
        assert sorted(done) == ["delete", "delete", "purge", "purge"]
        assert {row.act for row in bench.rows()} == {ActKind.PURGE}
        assert bench.ledger.verify().problem is None
    finally:
        bench.close()


# --- on a terminal


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (((CHOICE, ""),), "nothing was chosen"),
        (((CHOICE, "yes"),), "yes is none of these"),
        (((CHOICE, "delete"), (AGREED, "")), "nothing was done"),
    ],
)
def test_a_terminal_is_asked_and_without_a_word_nothing_is_done(
    instance: Instance, answers: tuple[tuple[str, str], ...], why: str
) -> None:
    done = on_terminal(*instance.arguments("scan", "--yes"), answers=answers)
    assert done.code == 2 and why in done.out and instance.intact, done.out


@pytest.mark.long
def test_both_answers_on_a_terminal_begin_the_run_and_are_remembered(instance: Instance) -> None:
    done = on_terminal(*instance.arguments("scan"), answers=((CHOICE, "delete"), (AGREED, "y")))
    assert done.code == 0 and not instance.intact, done.out
    assert " so far" in done.out, "a terminal shows how far it is"
    instance.restore()
    assert instance.run("scan").code == 0 and not instance.intact


@pytest.mark.long
def test_report_as_an_answer_needs_no_dry_run_and_removes_nothing(instance: Instance) -> None:
    done = on_terminal(*instance.arguments("scan"), answers=((CHOICE, "report"),))
    assert done.code == 0 and AGREED not in done.out and instance.intact, done.out


@pytest.mark.long
def test_apply_names_what_is_planned_before_it_asks(instance: Instance) -> None:
    assert instance.run("scan", "--dry-run").code == 0
    asked = "Remove them?"
    done = on_terminal(*instance.arguments("apply"), answers=((CHOICE, "delete"), (asked, "n")))
    assert done.code == 2 and "card.png" in done.out.partition(asked)[0] and instance.intact, done.out
    done = on_terminal(*instance.arguments("apply"), answers=((CHOICE, "delete"), (asked, "y")))
    assert done.code == 0 and not instance.intact, done.out
