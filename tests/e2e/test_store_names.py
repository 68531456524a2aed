"""A configured store goes by its name in the follow-up commands, which reach no store to tell which one it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedi_safety.stores import canonical_url
from support.program import check_one_line_error, program


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    program("self-test", "--card", str(tmp_path / "pictures/card.png"))
    file = tmp_path / "config.toml"
    file.write_text(
        f'ledger = "{tmp_path / "l.db"}"\n'
        f'[[stores]]\nname = "mine"\nurl = "{tmp_path / "pictures"}"\n'
        '[[stores]]\nname = "cloud"\nurl = "s3://bucket/part/?endpoint=http://127.0.0.1:9/&region=x"\n'
    )
    return file


@pytest.mark.long
def test_report_list_and_doctor_take_a_name(config: Path, tmp_path: Path) -> None:
    assert program("scan", "mine", "--dry-run", "--config", str(config)).code == 0
    report = program("report", "mine", "--json", "--config", str(config))
    assert report.json["store"] == f"file://{tmp_path / 'pictures'}" and report.json["totals"]["present"] == 1
    listed = program("list", "mine", "--json", "--config", str(config))
    assert [line["key"] for line in listed.lines] == ["card.png"]
    for command in ("report", "list"):
        unknown = program(command, "cloud", "--config", str(config))
        check_one_line_error(unknown, 2, "s3://bucket/part?endpoint=http://127.0.0.1:9", "knows no such store")
    check_one_line_error(
        program("list", "sftp://me:secret@host/x", "--config", str(config)), 2, "a password in the URL"
    )
    check_one_line_error(program("report", "ftp://host/x", "--config", str(config)), 2, "there are no ftp:// stores")
    seen = {f["thing"]: f for f in program("doctor", "--json", "--config", str(config)).json["findings"]}
    assert seen["store mine"]["ok"] is True
    assert seen["store cloud"]["ok"] is False and "access key" in seen["store cloud"]["detail"]


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("s3://bucket/p/?endpoint=https://H.example:443/&style=path", "s3://bucket/p?endpoint=https://h.example"),
        ("sftp://me@host:22/a/../b//c/", "sftp://me@host/b/c"),
        ("pictrs+http://Host:80/", "pictrs+http://host"),
        ("file:///no/longer/there", "file:///no/longer/there"),
    ],
)
def test_the_ledgers_name_of_a_store_needs_no_connection(written: str, canonical: str) -> None:
    assert canonical_url(written) == canonical
