"""Where it came from, from outside: `list --by`, `report`, and the domain policy that a person can import."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from fedi_safety.cli import run
from fedi_safety.core.sightings import Certainty
from fedi_safety.ledger.ledger import open_ledger
from support.fakes import FakeClock
from support.program import Done, check_one_line_error, program
from support.sources import condemned, seen

HOSTILE = "evil.example\x1b[31m<script>alert(1)</script>\u202e\n=cmd()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a ledger of 20 traced contents: 12 from one instance, 5 of a person here, one from a hostile name.

    The twelve were possible elsewhere as well.
    """
    folder = tmp_path_factory.mktemp("sources")
    ledger = open_ledger(folder / "ledger.db", clock=FakeClock())
    far = [seen("bad.example", f"https://bad.example/u/{n % 3}") for n in range(12)]
    near = [seen("social.example", "https://social.example/u/me", local=True)] * 5
    few = [seen("one.example", "https://one.example/u/x"), seen("192.0.2.7"), seen(HOSTILE, HOSTILE)]
    maybe = [seen("maybe.example", certainty=Certainty.POSSIBLE)]
    condemned(ledger, {f"key{n}": [sighting, *maybe[n // 12 :]] for n, sighting in enumerate([*far, *near, *few])})
    ledger.dispose()
    (folder / "config.toml").write_text('[trace]\nserver = "mastodon"\nurl = "https://social.example"\n')
    return folder


def listed(folder: Path, *arguments: str) -> Done:
    place = ("--config", str(folder / "config.toml"), "--ledger", str(folder / "ledger.db"))
    return program("list", "--by", "instance", *arguments, *place)


def test_sources_stand_in_columns_most_first_and_harmless(folder: Path) -> None:
    done = listed(folder)
    assert (done.code, done.err) == (0, "")
    heading, first, maybe, second, *rest = done.out.splitlines()
    assert heading == "condemned     share at 95 %  last traced  from    instance"
    assert first == " 12 of 20  38.6 % to 78.1 %  2027-01-15   remote  bad.example"
    assert maybe.split()[-1] == "maybe.example"
    assert second == "  5 of 20  11.1 % to 46.8 %  2027-01-15   local   social.example"
    assert len(rest) == 3
    assert all(line.isprintable() for line in done.out.splitlines())
    (line,) = [line for line in rest if "evil" in line]
    assert line.endswith(r"evil.example\x1b[31m<script>alert(1)</script>\u202e\n=cmd()")
    assert len(listed(folder, "--limit", "2").out.splitlines()) == 3
    objects = listed(folder, "--json").lines
    assert objects[0] == {
        "instance": "bad.example",
        "local": False,
        "condemned": 12,
        "of": 20,
        "low": pytest.approx(0.3866, abs=1e-4),
        "high": pytest.approx(0.7812, abs=1e-4),
        "last_traced": "2027-01-15T08:00:00+00:00",
    }


@pytest.mark.long
def test_the_report_tells_the_same(folder: Path) -> None:
    place = ("--config", str(folder / "config.toml"), "--ledger", str(folder / "ledger.db"))
    told = program("report", *place, env={"COLUMNS": "100"})
    assert told.code == 0, told
    assert "where condemned contents came from, by instance" in told.out
    assert "where condemned contents came from, by person" in told.out
    assert " 12 of 20  38.6 % to 78.1 %  2027-01-15   remote  bad.example" in told.out
    assert "\x1b" not in told.out and "\u202e" not in told.out
    sources = program("report", *place, "--json").json["sources"]
    assert [len(sources["instance"]), len(sources["person"])] == [6, 6]
    assert sources["instance"] == listed(folder, "--json").lines
    rows = list(csv.reader(io.StringIO(program("report", *place, "--csv").out)))
    assert ["", "condemned by instance", "bad.example", "12"] in rows
    assert ["", "condemned by person", "https://bad.example/u/0", "4"] in rows


@pytest.mark.long
def test_a_domain_policy_names_who_surely_sent_enough_and_is_never_written_over_unasked(
    folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "blocks.csv"
    done = listed(folder, "--domain-policy", "mastodon", "--output", str(place))
    assert done.code == 0, done
    assert [line.split()[-1] for line in done.out.splitlines()] == ["instance", "bad.example"]
    wrote, left = done.err.splitlines()
    assert wrote == (
        f"wrote {place}: 1 instance for mastodon. Where it is imported, their media are rejected, nothing else is "
        "limited; nothing is blocked by itself."
    )
    assert left.startswith("left out: ") and "1 your own" in left and "1 with fewer than 5 contents" in left
    assert place.read_text().splitlines()[1:] == ["bad.example,noop,true,false,,false"]
    assert place.stat().st_mode & 0o111 == 0

    before = place.read_bytes()
    asked = ("--domain-policy", "lemmy", "--output", str(place))
    check_one_line_error(listed(folder, *asked), 2, str(place), "exists", "--yes")
    assert place.read_bytes() == before
    done = listed(folder, *asked, "--yes", "--json")
    assert [line["instance"] for line in done.lines] == ["bad.example"]
    assert [body["instance"] for body in json.loads(place.read_text())] == ["bad.example"]

    # A bound that nobody meets leaves an empty policy, not the old one.
    done = listed(folder, *asked, "--yes", "--least-contents", "13")
    assert (done.code, done.out, json.loads(place.read_text())) == (0, "", [])
    assert "0 instances for lemmy." in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--domain-policy", "mastodon"), ("--output",)),
        (("--domain-policy", "mastodon", "--output", "/nowhere/at/all.csv"), ("--output", "no such directory")),
        (("--domain-policy", "mastodon", "--output", "."), ("--output", "is a directory", "blocks.csv")),
        (("--domain-policy", "mastodon", "--output", "x.csv", "--by", "person"), ("--by instance",)),
        (("--output", "x.csv"), ("--output", "--domain-policy")),
        (("--least-share", "0.5"), ("--least-share", "--domain-policy")),
        (("--domain-policy", "peertube"), ("peertube", "mastodon")),
    ],
)
def test_bad_input_gets_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    code = run(["list", "--by", "instance", *arguments, "--ledger", str(folder / "ledger.db")])
    check_one_line_error(Done(code, *capsys.readouterr()), 2, *words)


def test_nothing_traced_is_said_once_and_is_an_empty_list(tmp_path: Path) -> None:
    open_ledger(tmp_path / "ledger.db", clock=FakeClock()).dispose()
    (tmp_path / "config.toml").write_text("")
    done = listed(tmp_path)
    assert (done.code, done.out) == (0, "")
    assert done.err == (
        "nothing that is condemned was traced to an instance yet: no server is configured (`trace.server`; "
        "docs/trace.md)\n"
    )
    quiet = listed(tmp_path, "--json")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
