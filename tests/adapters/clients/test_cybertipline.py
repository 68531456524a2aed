"""What NCMEC answers is read from the answer itself, nothing is sent twice, and nothing is sent but reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from fedi_safety.clients.cybertipline import FINISHED, CybertipError, Cybertipline, CybertipUsageError
from support.servers.ncmec import PASSWORD, USER, Ncmec
from support.servers.publishers import Reply, cut, serving, status

REPORT = """<report><incidentSummary>{}</incidentSummary>
<reporter><reportingPerson><email>a@b.example</email></reportingPerson></reporter></report>"""
TYPE = "<incidentType>Child Pornography (possession, manufacture, and distribution)</incidentType>"
TIME = "<incidentDateTime>2023-11-14T22:03:20Z</incidentDateTime>"
GOOD = REPORT.format(TYPE + TIME).encode()


@pytest.fixture
def ncmec() -> Ncmec:
    return Ncmec()


@pytest.fixture
def line(ncmec: Ncmec) -> Iterator[Cybertipline]:
    with serving(ncmec) as url, closing(Cybertipline(url, USER, PASSWORD)) as made:
        yield made


def test_a_report_is_opened_and_finished(ncmec: Ncmec, line: Cybertipline) -> None:
    assert b"urn:fedi-safety:excerpt" in line.schema()
    answer = line.submit(GOOD)
    assert (answer.code, answer.description, answer.report) == (0, "Success", "4711") and not ncmec.finished
    assert line.finish("4711").report == "4711" and ncmec.finished == ["4711"]
    assert ncmec.reports["4711"][0] == GOOD
    assert ncmec.paths() == ["GET /xsd", "POST /submit", "POST /finish"]


def test_what_is_out_of_order_or_missing_is_refused_with_status_200(ncmec: Ncmec, line: Cybertipline) -> None:
    for document, code in (
        (REPORT.format(TIME + TYPE), 4100),
        (REPORT.format(TYPE), 4100),
        (REPORT.format(TYPE + TIME).replace("reporter>", "somebody>"), 4100),
        ("<report>", 4110),
    ):
        with pytest.raises(CybertipError, match=str(code)) as caught:
            line.submit(document.encode())
        assert caught.value.code == code and not caught.value.unclear
    assert ncmec.reports == {}


def test_a_code_in_the_body_is_a_failure_whatever_the_status_says(ncmec: Ncmec, line: Cybertipline) -> None:
    codes = (1000, 1100, 1300, 2000, 3100, 4000, 5101, 9999)
    for code in codes:
        ncmec.codes["/submit"] = [code]
        with pytest.raises(CybertipError, match=f"it answers {code}, ") as caught:
            line.submit(GOOD)
        assert caught.value.code == code and not caught.value.unclear
        assert isinstance(caught.value, CybertipUsageError) == (code in (2000, 3100))
    assert len(ncmec.asked) == len(codes), "nothing is tried again by itself"


def test_what_broke_off_may_have_arrived(ncmec: Ncmec, line: Cybertipline) -> None:
    for spoil in (cut, status(502), lambda _reply: Reply(200, b"<html>"), lambda _reply: Reply(200, b"<!DOCTYPE x>")):
        ncmec.spoil(spoil, contains="/submit")
        with pytest.raises(CybertipError) as caught:
            line.submit(GOOD)
        assert caught.value.unclear
    assert len(ncmec.reports) == 4 == len(ncmec.asked), "it did arrive, and was not sent again"


def test_what_never_arrived_is_said_to_be_so(ncmec: Ncmec) -> None:
    with serving(ncmec) as url, closing(Cybertipline(url, USER, "wrong")) as line:
        with pytest.raises(CybertipUsageError, match="does not accept the credentials") as refused:
            line.submit(GOOD)
        assert not refused.value.unclear and "wrong" not in refused.value.line()
    with closing(Cybertipline(url, USER, PASSWORD)) as line:  # nobody listens there any more
        with pytest.raises(CybertipError, match="cannot be reached") as caught:
            line.submit(GOOD)
        assert not caught.value.unclear
    assert ncmec.reports == {}


def test_a_report_is_finished_once(ncmec: Ncmec, line: Cybertipline) -> None:
    number = line.submit(GOOD).report
    line.finish(number)
    with pytest.raises(CybertipError) as caught:
        line.finish(number)
    assert caught.value.code == FINISHED


@pytest.mark.parametrize(
    "body",
    [
        b"<reportResponse><responseCode>0</responseCode></reportResponse>",
        b"<reportResponse><responseCode>0</responseCode><reportId>../x</reportId></reportResponse>",
    ],
)
def test_a_report_without_a_number_is_none(body: bytes) -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=body))
    with closing(Cybertipline("https://ncmec.example", USER, PASSWORD, transport=transport)) as line:
        with pytest.raises(CybertipError, match="gave no number") as caught:
            line.submit(GOOD)
        assert caught.value.unclear


def test_no_file_can_be_sent() -> None:
    """There is no call for it: nothing of this module names the addresses that take files."""
    source = Path(__file__).parents[3] / "src/fedi_safety"
    assert not [name for name in vars(Cybertipline) if "upload" in name or "file" in name]
    for path in source.rglob("*.py"):
        assert '"/upload"' not in path.read_text("utf-8") and '"/fileinfo"' not in path.read_text("utf-8"), path
