"""A report to NCMEC: by a person's command alone, in earnest only where both say so, once, each step on record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety import cli
from fedi_safety.clients.cybertipline import BASES, Environment
from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.evidence import Submission, SubmissionState
from fedi_safety.core.sealing.copies import Seal
from support import reported
from support.servers.ncmec import PASSWORD, USER, Ncmec
from support.servers.publishers import Reply, cut, serving, status

CONFIG = """\
[law]
preset = "report-and-preserve"
[evidence]
service = "https://social.example"
email = "ada@social.example"
[evidence.ncmec]
environment = "{}"
user = "{}"
password = "{}"
"""
KEY = reported.SHA256.hex()
DONE, OPENED, BEGUN, FAILED = (
    SubmissionState.DONE, SubmissionState.OPENED, SubmissionState.BEGUN, SubmissionState.FAILED,
)  # fmt: skip


class Desk:
    """An administrator with a condemned content, and NCMEC's two environments on loopback."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], **servers: Ncmec) -> None:
        self.folder = folder
        self.capsys = capsys
        self.test, self.production = servers["test"], servers["production"]
        self.out, self.err = "", ""
        self.configure()
        ledger = reported.ledger_at(folder)
        reported.condemned(ledger)
        ledger.dispose()

    def configure(self, environment: str = "test", user: str = USER, password: str = PASSWORD, more: str = "") -> None:
        (self.folder / "config.toml").write_text(CONFIG.format(environment, user, password) + more)

    def evidence(self, *words: str) -> int:
        common = ("--config", str(self.folder / "config.toml"), "--ledger", str(self.folder / "ledger.db"))
        code = cli.run(["evidence", *words, *common])
        self.out, self.err = self.capsys.readouterr()
        return code

    def submit(self, *options: str, key: str = KEY) -> int:
        return self.evidence("submit", key, "--yes", *options)

    def refused(self, code: int, *said: str, options: tuple[str, ...] = ()) -> None:
        assert self.submit(*options) == code, self.err
        (line,) = self.err.strip().splitlines()
        assert all(word in line for word in said), line
        assert "Traceback" not in self.err and PASSWORD not in line

    def steps(self) -> list[Submission]:
        ledger = reported.ledger_at(self.folder)
        try:
            assert ledger.verify().problem is None
            return ledger.submissions(reported.SHA256)
        finally:
            ledger.dispose()

    def states(self) -> list[SubmissionState]:
        return [step.state for step in self.steps()]

    def seals(self) -> list[Seal]:
        ledger = reported.ledger_at(self.folder)
        try:
            return ledger.seals(sha256=reported.SHA256)
        finally:
            ledger.dispose()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    test, production = Ncmec(), Ncmec(real=True)
    with serving(test) as test_url, serving(production) as production_url:
        monkeypatch.setitem(BASES, Environment.TEST, test_url)
        monkeypatch.setitem(BASES, Environment.PRODUCTION, production_url)
        yield Desk(tmp_path, capsys, test=test, production=production)


def test_a_test_is_sent_to_the_test_environment_and_counts_as_nothing(desk: Desk) -> None:
    assert desk.submit() == 0, desk.err
    assert "report 4711 is filed with NCMEC's test environment" in desk.out and "that was a test" in desk.out
    assert desk.test.finished == ["4711"] and desk.production.asked == []
    assert desk.test.paths() == ["GET /xsd", "POST /submit", "POST /finish"]
    assert desk.states() == [BEGUN, OPENED, DONE]
    assert desk.steps()[-1].reference == "4711" and "responseCode" in desk.steps()[-1].detail
    assert [seal.filed_at for seal in desk.seals()] == [None]
    assert desk.submit("--production") == 2 and "the configuration does not say production" in desk.err


def test_in_earnest_only_where_configuration_and_command_say_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDI_SAFETY_EVIDENCE__NCMEC__ENVIRONMENT", "production")
    desk.refused(2, "production is for the configuration file to say", options=("--production",))
    monkeypatch.delenv("FEDI_SAFETY_EVIDENCE__NCMEC__ENVIRONMENT")
    desk.configure("production")
    assert desk.submit() == 0 and desk.test.finished == ["4711"] and desk.production.asked == []
    assert desk.submit("--production") == 0, desk.err
    assert desk.production.finished == ["4711"]
    (seal,) = desk.seals()
    assert (seal.authority, seal.reference) == ("NCMEC", "4711") and seal.filed_at is not None
    assert seal.expires_at == pytest.approx(seal.filed_at + 365 * 86_400), "the year counts from the report"
    assert "filed at" in desk.out and "reference 4711" in desk.out


@pytest.mark.long
def test_a_report_that_was_filed_is_recorded_with_the_copies_after_a_kill_as_well(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.configure("production")
    with monkeypatch.context() as killed:
        killed.setattr("fedi_safety.cli.evidence.submitting._file", lambda *_: (_ for _ in ()).throw(MemoryError()))
        assert desk.submit("--production") != 0 and desk.states()[-1] is DONE
    assert desk.seals()[0].filed_at is None
    desk.refused(2, "it was reported already", options=("--production",))
    assert desk.seals()[0].reference == "4711" and desk.seals()[0].filed_at == desk.steps()[-1].at
    events = len(desk.steps())
    desk.refused(2, "it was reported already", options=("--production",))
    assert len(desk.steps()) == events and desk.production.finished == ["4711"]


@pytest.mark.long
def test_without_ncmecs_own_schema_nothing_is_filed_in_earnest(desk: Desk) -> None:
    desk.configure("production")
    desk.production.xsd = desk.test.xsd  # the excerpt, marked as one
    desk.refused(2, "an excerpt for tests, not NCMEC's own", options=("--production",))
    desk.production.xsd = b"<html>come back later</html>"
    desk.refused(3, "it gave no schema", options=("--production",))
    desk.production.spoil(status(404), contains="/xsd")
    desk.refused(3, "its schema, which a report is checked against first, cannot be had", options=("--production",))
    desk.production.xsd = b"<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'><xs:nonsense/></xs:schema>"
    desk.refused(2, "NCMEC's schema cannot be used", options=("--production",))
    assert desk.production.reports == {} and desk.steps() == []


@pytest.mark.long
def test_what_does_not_fit_their_schema_is_not_sent(desk: Desk) -> None:
    desk.test.xsd = desk.test.xsd.replace(
        b'name="platform" type="Line256" minOccurs="0"', b'name="site" type="Line256"'
    )
    desk.refused(2, "the report does not fit NCMEC's schema at /report/incidentSummary", "nothing was sent")
    assert desk.test.reports == {} and desk.steps() == []


@pytest.mark.long
def test_a_second_report_is_refused_unless_asked_for(desk: Desk) -> None:
    assert desk.submit() == 0
    desk.refused(2, "it was reported already, as 4711", "--again")
    assert desk.test.finished == ["4711"] and desk.submit("--again") == 0 and desk.test.finished == ["4711", "4712"]
    desk.configure("production")
    assert desk.submit("--production") == 0, "a test is no report"


@pytest.mark.long
def test_a_refusal_in_the_body_is_on_record_and_leaves_the_way_open(desk: Desk) -> None:
    desk.test.codes["/submit"] = [1100]
    desk.refused(3, "it answers 1100, they could not save it")
    assert desk.states() == [BEGUN, FAILED] and "1100" in desk.steps()[-1].detail
    assert desk.submit() == 0 and desk.states()[-1] is DONE


@pytest.mark.long
def test_what_broke_off_is_not_sent_again_by_itself(desk: Desk) -> None:
    desk.test.spoil(cut, contains="/submit")
    desk.refused(3, "whether it arrived is not known")
    assert desk.states() == [BEGUN] and len(desk.test.reports) == 1
    desk.refused(2, "whether it arrived is not known", "--again")
    assert desk.submit("--again") == 0 and desk.test.finished == ["4712"]


@pytest.mark.long
def test_a_report_that_was_opened_is_finished_and_not_sent_anew(desk: Desk) -> None:
    for spoil in (cut, lambda _reply: Reply(500)):
        desk.test.spoil(spoil, contains="/finish")
        assert desk.submit("--again") == 3 and "report 47" in desk.err and "is open and not finished" in desk.err
        assert desk.states()[-1] is OPENED
        sent = len(desk.test.reports)
        # The first try arrived, though its answer broke off: NCMEC says that it was finished before.
        assert desk.submit() == 0 and len(desk.test.reports) == sent, desk.err
        assert desk.states()[-1] is DONE and "it is finished now" in desk.err


@pytest.mark.long
def test_a_report_that_they_let_go_is_sent_anew(desk: Desk) -> None:
    desk.test.codes["/finish"] = [1000]
    assert desk.submit() == 3
    desk.test.reports.clear()  # unfinished ones go by themselves after an hour
    assert desk.submit() == 0, desk.err
    assert "does not have report 4711 any more" in desk.err
    assert desk.states() == [BEGUN, OPENED, FAILED, BEGUN, OPENED, DONE]


@pytest.mark.long
def test_credentials_that_are_none(desk: Desk) -> None:
    desk.configure(password="not the word")
    desk.refused(2, "it does not accept the credentials (401)", "each environment has its own")
    (desk.folder / "config.toml").write_text('[evidence]\nemail = "ada@social.example"\n')
    desk.refused(2, "no access to NCMEC is configured", "evidence.ncmec.user")
    assert desk.steps() == [] and desk.test.reports == {}


def test_what_must_not_be_reported_is_not(desk: Desk) -> None:
    ledger = reported.ledger_at(desk.folder)
    run = ledger.begin_run("scan", reported.STORE, {})
    ledger.record(run, reported.STORE, [reported.judged(Verdict.REVIEW, "perhaps", b"r" * 32)])
    ledger.dismiss(reported.SHA256, "a tomato")
    ledger.dispose()
    desk.refused(2, "a person dismissed it")
    assert desk.submit(key=(b"r" * 32).hex()) == 2 and "does not stand condemned" in desk.err
    assert desk.submit(key="nowhere") == 2 and "the ledger knows no such object" in desk.err
    assert desk.test.asked == [] and desk.steps() == []


@pytest.mark.long
def test_a_report_that_lacks_something_names_it(desk: Desk) -> None:
    desk.configure()
    text = (desk.folder / "config.toml").read_text().replace('email = "ada@social.example"\n', "")
    (desk.folder / "config.toml").write_text(text)
    desk.refused(2, "the report lacks the e-mail address of the person who reports (evidence.email)")
    assert desk.test.asked == []


def test_nothing_is_asked_of_them_before_the_answer_to_the_question(desk: Desk) -> None:
    assert desk.evidence("submit", KEY) == 2
    assert "not confirmed" in desk.err and '"Child Pornography' in desk.err and "--yes" in desk.err
    assert desk.test.asked == [] and desk.steps() == []


@pytest.mark.long
@pytest.mark.parametrize("when", ["/submit", "/finish"])
def test_each_step_is_on_record_before_the_next(when: str, desk: Desk) -> None:
    """A kill between any two leaves what is needed to know how far it got."""
    seen: list[list[SubmissionState]] = []
    desk.test.before = lambda asked: seen.append(desk.states()) if asked.path == when else None
    assert desk.submit() == 0
    assert seen == [{"/submit": [BEGUN], "/finish": [BEGUN, OPENED]}[when]]


@pytest.mark.long
def test_two_at_once_send_one_report(desk: Desk) -> None:
    second: list[int] = []

    def other(asked: object) -> None:
        if not second and getattr(asked, "path", "") == "/xsd":
            second.append(0)  # only once
            second[0] = desk.submit()

    desk.test.before = other
    assert desk.submit() == 2 and second == [0]
    assert "somebody else is reporting it at the same time" in desk.err and desk.test.finished == ["4711"]


def test_words_that_do_not_go_together(desk: Desk) -> None:
    for words, said in (
        (("submit", KEY, "--out", "x"), "it writes no folder"),
        ((KEY, "--production", "--out", "x"), "are for submit"),
        ((KEY, "another", "--out", "x"), "more than one KEY"),
        ((KEY, "--run", "1", "--out", "x"), "either a KEY or --run N"),
        (("--out", "x"), "either a KEY or --run N"),
        ((KEY,), "there is no --out"),
    ):
        assert desk.evidence(*words) == 2 and said in desk.err, words
        assert len(desk.err.strip().splitlines()) == 1
