"""Evidence as an administrator has it: of what was really found, sealed and removed; the picture is nowhere in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support import stand_in
from support.corpus import shapes
from support.program import Done, check_one_line_error, program
from support.sealing import public

PICTURES = {f"{what.seed}<b>.png": shapes.png_bytes(what) for what in shapes.held_out(8, 50_000_000)}
WHO = """
[evidence]
organization = "Social Example e.V."
service = "https://social.example"
first_name = "Ada"
last_name = "Example"
email = "ada@social.example"
"""


@pytest.mark.long
def test_what_a_run_condemned_is_told_without_the_picture(tmp_path: Path) -> None:
    for part in ("media", "vault"):
        (tmp_path / part).mkdir()
    for name, data in PICTURES.items():
        (tmp_path / "media" / name).write_bytes(data)
    seal = (
        f'[seal]\nrecipients = ["{public()}"]\nvault = "{tmp_path / "vault"}"\n[law]\npreset = "seal-and-hold"\n{WHO}'
    )
    config = stand_in.write_config(tmp_path, tmp_path / "media", seal)

    def run(*words: str) -> Done:
        return program(*words, "--config", str(config), "--ledger", str(tmp_path / "ledger.db"))

    assert run("scan", "--dry-run").code == 0
    done = run("apply", "--yes", "--resume-acts")
    assert done.code == 0, done
    gone = sorted(set(PICTURES) - {path.name for path in (tmp_path / "media").iterdir()})
    assert len(gone) > 1
    assert run("hold", gone[0], "--reason", "the police asked").code == 0
    filed = ("--authority", "NCMEC", "--reference", "4711", "--at", "2026-11-01")
    assert run("filed", gone[0], *filed).code == 0

    done = run("evidence", gone[0], "--out", str(tmp_path / "one"))
    assert done.code == 0 and done.err == "", done
    assert done.out.splitlines()[0].endswith("files, for you alone; the picture is in none of them")
    text = (tmp_path / "one/evidence.txt").read_text()
    data = PICTURES[gone[0]]
    for said in (
        hashlib.sha256(data).hexdigest(),
        hashlib.sha1(data).hexdigest(),
        hashlib.md5(data).hexdigest(),
        "PDQ",
        "red circle: red ",
        "held: the police asked",
        "reference 4711",
        "on the server: not any more",
        "Nobody was found who put it there",
    ):
        assert said in text, said
    kinds = [
        json.loads(json.loads(line)["body"])["kind"]
        for line in (tmp_path / "one/custody.jsonl").read_text().splitlines()[:-1]
    ]
    assert kinds[-2:] == ["seal.held", "seal.filed"] and "seal.made" in kinds and "act.closed" in kinds
    head = run("ledger", "verify")
    assert head.code == 0 and json.loads((tmp_path / "one/custody.jsonl").read_text().splitlines()[-1])["head"] in (
        head.out + head.err
    )
    root = ElementTree.parse(tmp_path / "one/cybertip.xml").getroot()
    assert root.findtext("reporter/reportingPerson/email") == "ada@social.example"

    runs = {path.name for path in (tmp_path / "one").iterdir()}
    for number in ("1", "2"):  # the dry run condemned them, the other removed them
        done = run("evidence", "--run", number, "--out", str(tmp_path / f"run{number}"))
        assert done.code == 0, done
        folders = [path for path in (tmp_path / f"run{number}").iterdir() if path.is_dir()]
        assert sorted(path.name for path in folders) == sorted(hashlib.sha256(PICTURES[n]).hexdigest() for n in gone)
        assert all({path.name for path in folder.iterdir()} == runs for folder in folders)
    for path in tmp_path.glob("r*/**/*"):
        if path.is_file():
            written = path.read_bytes()
            assert b"\x89PNG" not in written and data[64:128] not in written and not path.name.endswith(".png")

    fine = next(name for name in PICTURES if name not in gone)
    done = run("evidence", fine, "--out", str(tmp_path / "none"))
    check_one_line_error(done, 2, "nothing is wrong with it", "fedi_safety show")
    done = run("evidence", "submit", gone[0], "--yes")
    check_one_line_error(done, 2, "no access to NCMEC is configured")
    assert not (tmp_path / "none").exists()
