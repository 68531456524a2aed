"""`fedi-safety report` from outside, on a ledger that the library made."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fedi_safety.core.enums import MediaType, Reason, Verdict
from fedi_safety.core.types import Content, Judged, Judgement, Object, Scores, Signal, Unscanned
from fedi_safety.ledger.ledger import open_ledger
from support.fakes import FakeClock

ONE, TWO = "file:///srv/[red]<script>", "file:///srv/two"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "my ledger.db"
    records = open_ledger(path, clock=FakeClock())
    run = records.begin_run("scan", ONE, {"dry_run": True})
    content = Content(
        hashlib.sha256(b"x").digest(), 1, MediaType.PNG, 1, 1, 1, Scores({"face.under_20": Signal(0.99)}, {"t": "1"})
    )
    records.record(run, ONE, [Judged(Object("fine", 1, 1), content, Judgement(Verdict.CLEAR, ("nsfw",), (), "p"))])
    records.record(run, ONE, [Unscanned(Object(f"{n}", 1, 1), Reason.UNSUPPORTED) for n in range(3)])
    records.end_run(run, "done", {"listed": 4, "judged": 1, "images_per_second": 12.5})
    records.record(run, TWO, [Unscanned(Object("z", 1, 1), Reason.NOT_MEDIA)])
    records.dispose()
    return path


def _report(*arguments: str, ledger: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fedi_safety", "report", *arguments]
    if ledger is not None:
        command += ["--ledger", str(ledger)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.long
def test_the_tables_name_the_gaps(ledger: Path) -> None:
    done = _report(ONE, ledger=ledger)
    assert (done.returncode, done.stderr) == (0, "")
    assert "coverage 25.0 %: 3 objects have no verdict: 3 unsupported" in done.stdout
    (typed,) = re.findall("the media without a verdict: (.*)", done.stdout)
    assert f" list '{ONE}' --state unscanned --unscanned REASON --ledger '{ledger}'" in typed
    typed = typed.replace("REASON", "unsupported")
    pasted = subprocess.run(typed, shell=True, capture_output=True, text=True, timeout=120)
    assert len(pasted.stdout.splitlines()) == 3, pasted
    assert "label nsfw" in done.stdout and "12.5" in done.stdout and "scan, dry run" in done.stdout
    assert TWO not in done.stdout and TWO in _report(ledger=ledger).stdout
    assert _report("--quiet", ledger=ledger).stdout == ""


@pytest.mark.long
def test_json_and_a_page_at_once(ledger: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = _report("--json", "--html", str(page), ledger=ledger)
    assert done.returncode == 0 and done.stderr == f"wrote {page}\n"
    found = json.loads(done.stdout)
    assert [store["store"] for store in found["stores"]] == [ONE, TWO]
    assert found["totals"]["coverage"] == 0.25 and found["histograms"]["face.under_20"][19] == 1
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    tree = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>\n"))
    marks = [group.attrib["data-threshold"] for group in tree.findall(".//g[@data-threshold]")]
    assert marks == ["0.4", "0.4"]  # of the preset `balanced`, to condemn and to review
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".fedi")) == []


@pytest.mark.long
def test_csv(ledger: Path) -> None:
    done = _report("--csv", "--quiet", TWO, ledger=ledger)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["store"] for row in rows} == {TWO} and {"present", "coverage"} <= {row["figure"] for row in rows}


@pytest.mark.long
def test_an_empty_ledger_makes_an_empty_report(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    open_ledger(path, clock=FakeClock()).dispose()
    done = _report(ledger=path)
    assert done.returncode == 0 and "The ledger is empty" in done.stdout
    found = json.loads(_report("--json", ledger=path).stdout)
    assert found["stores"] == [] and found["totals"]["coverage"] is None
    assert _report("--csv", ledger=path).stdout == "store,figure,name,value\n"
    assert _report("--html", str(tmp_path / "e.html"), ledger=path).returncode == 0
    assert "The ledger is empty" in (tmp_path / "e.html").read_text(encoding="utf-8")


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--json", "--csv"], "--json and --csv: only one can have standard output; give one of them"),
        (["file:///nowhere"], "file:///nowhere: the ledger knows no such store; it knows"),
        (["--html", "no/such/report.html"], "--html no/such/report.html: there is no such directory; make"),
        (["--html", "."], "--html .: is a directory; name a file in it"),
        (["--html", ""], "--html: is a directory; name a file in it"),
        (["--html", "/dev/null"], "--html /dev/null: is not a regular file; name"),
        (["--html", "/proc/report.html"], "--html /proc/report.html: "),
    ],
    ids=str,
)
def test_misuse_is_refused_in_one_line(ledger: Path, arguments: list[str], said: str) -> None:
    done = _report(*arguments, ledger=ledger)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fedi-safety: {said}") and done.stderr.count("\n") == 1


@pytest.mark.long
def test_a_link_is_followed_and_stays_a_link(ledger: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "target.html", tmp_path / "link.html"
    link.symlink_to(target)
    assert _report("--html", str(link), "--quiet", ledger=ledger).returncode == 0
    assert link.is_symlink() and target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
