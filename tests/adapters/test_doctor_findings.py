"""What `doctor` says of policy and stores: what somebody asked for, and what is wrong; no more than that."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.cli import doctor_cmd
from fedi_safety.core.errors import ExitCode
from fedi_safety.known.catalog import Catalog
from fedi_safety.known.progress import SourceState
from fedi_safety.policies import PRESETS
from support.program import program, without_power
from support.stand_in import write_config


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    for slow in ("_detectors", "_decoder"):
        monkeypatch.setattr(doctor_cmd, slow, lambda *_: iter(()))

    def run(*lines: str, thing: str = "policy") -> tuple[int, list[dict[str, Any]]]:
        file = tmp_path / "config.toml"
        file.write_text("\n".join((f"ledger = '{tmp_path}/ledger.db'", *lines)))
        capsys.readouterr()
        code = doctor_cmd.doctor(json_output=True, config=str(file))
        return code, [f for f in json.loads(capsys.readouterr().out)["findings"] if f["thing"] == thing]

    return run


@pytest.mark.parametrize("preset", PRESETS)
def test_of_a_preset_nothing_is_said_about_detectors_that_nobody_switched_on(doctor: Any, preset: str) -> None:
    code, (found,) = doctor(f"policy = '{preset}'")
    assert (code, found["ok"]) == (0, True)
    _, (found,) = doctor(f"policy = '{preset}'", "detectors = ['embedded', 'clip']")
    assert found["ok"] is True


def test_what_somebody_left_out_or_wrote_themselves_is_said(doctor: Any, tmp_path: Path) -> None:
    _, (_, *notes) = doctor("detectors = ['open_nsfw']")
    said = " ".join(note["detail"] for note in notes)
    assert "no active detector gives face." in said and "nothing measures minor" in said and "clip." not in said
    own = tmp_path / "own.toml"
    own.write_text('[factors]\na = ["clip.minor"]\n[[rules]]\nname = "r"\nwhen = { a = 0.5 }\nverdict = "block"\n')
    _, (_, *notes) = doctor(f"policy = '{own}'")
    said = " ".join(note["detail"] for note in notes)
    assert "no active detector gives clip.minor" in said and "rule 'r' can never hold" in said
    concepts = tmp_path / "concepts.toml"
    concepts.write_text('[concepts.cat]\npositive = ["a cat"]\nnegative = ["a dog"]\n')
    _, notes = doctor("detectors = ['embedded', 'clip']", f"clip = {{ concepts = '{concepts}' }}")
    assert "clip.minor" in " ".join(note["detail"] for note in notes), "it was switched on, and does not look for that"


@pytest.mark.long
def test_a_store_that_cannot_be_removed_from_is_wrong_unless_it_is_left_as_it_is(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (media / "a.jpg").write_bytes(b"a")
    media.chmod(0o555)
    try:
        asked = ("doctor", str(media), "--json", "--config", str(write_config(tmp_path)))
        wrong = program(*asked, prefix=without_power())
        left = program(*asked, prefix=without_power(), env={"FEDI_SAFETY_ACT": "report"})
    finally:
        media.chmod(0o755)
    (found,) = [f for f in wrong.json["findings"] if f["thing"] == "store"]
    assert (wrong.code, found["ok"]) == (ExitCode.USAGE, False)
    assert "or set `act` to report" in found["detail"]
    assert "can be listed and read; NOT removed from: this user may not remove files in its root" in found["detail"]
    (found,) = [f for f in left.json["findings"] if f["thing"] == "store"]
    assert (left.code, found["ok"]) == (0, True), "a report removes nothing"
    assert [path.name for path in media.iterdir()] == ["a.jpg"]


def test_sql_that_is_long_is_shown_when_it_is_asked_for(
    doctor: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After `init` with a server nobody has asked for a role yet."""
    code, (found,) = doctor("[trace]", "server = 'lemmy'", "url = 'https://lemmy.example'", thing="trace")
    assert code == 0 and len(found["sql"]) > 20
    config = str(tmp_path / "config.toml")
    shown = []
    for sql in (False, True):
        capsys.readouterr()
        assert doctor_cmd.doctor(config=config, sql=sql) == 0
        shown.append(capsys.readouterr().out)
    assert "GRANT" not in shown[0]
    assert f"the SQL, {len(found['sql'])} lines: fedi-safety doctor --sql --config {config}" in shown[0]
    assert all(line in shown[1] for line in found["sql"]) and "doctor --sql" not in shown[1]


def test_of_each_source_it_is_said_when_it_was_read_why_it_failed_and_what_it_was_told(
    doctor: Any, tmp_path: Path
) -> None:
    table = "[[known.sources]]\nname = 'friends'\nkind = 'url'\nurl = 'https://social.example/list.txt'\n"
    code, (found,) = doctor(table, thing="source friends")
    assert (code, found["ok"], found["detail"]) == (0, None, "url, never read to its end")
    code, (found,) = doctor(table + "credentials_variable = 'NOT_SET_HERE'", thing="source friends")
    assert (code, found["ok"]) == (ExitCode.USAGE, False) and "NOT_SET_HERE is not set" in found["detail"]
    state = SourceState("friends", "url", "", fetched_s=1_700_000_000.0, failures=3, failure="it answered 500")
    shield = SourceState("shield", "arachnid_shield", "", fetched_s=time.time(), calls=2, sent=90)
    with Catalog(tmp_path / "known") as catalog:
        for each in (state, shield):
            catalog.note(each.name, lambda _before, each=each: each)  # type: ignore[misc]
    code, (found,) = doctor(table, thing="source friends")
    assert (code, found["ok"]) == (ExitCode.OUTSIDE, False)
    assert found["detail"] == "url, read 2023-11-14 22:13 UTC; failed 3 times since: it answered 500"
    sending = "[[known.sources]]\nname = 'shield'\nkind = 'arachnid_shield'\n"
    code, (found,) = doctor(sending, thing="sources")
    assert (code, found["ok"]) == (ExitCode.USAGE, False) and "send_hashes = true" in found["detail"]
    _, (found,) = doctor(sending + "send_hashes = true", thing="source shield")
    assert found["ok"] and found["detail"].endswith("told hashes of stored pictures: 90 in 2 calls")
