"""`trace` from outside: a picture condemned, traced and removed; what is on record of it; and what bad input gets."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from support import stand_in
from support.corpus.shapes import held_out, png_bytes
from support.program import FIRST, TYPED, check_one_line_error, program

SERVER = '[trace]\nserver = "mastodon"\nurl = "https://social.example"\n'
CONDEMNED = "media_attachments/files/109/876/543/210/987/654/original/0123456789abcdef.png"
AVATAR = "cache/accounts/avatars/000/123/456/original/fedcba9876543210.png"
FINE = "media_attachments/files/109/876/543/210/987/655/original/0123456789abcdef.png"


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "system"
    scenes = list(held_out(60, 30_000_000))
    bad, good = ([what for what in scenes if what.condemned is condemned] for condemned in (True, False))
    for key, what in ((CONDEMNED, bad[0]), (AVATAR, bad[1]), (FINE, good[0])):
        path = folder / key
        path.parent.mkdir(parents=True)
        path.write_bytes(png_bytes(what, 160))
    return folder


@pytest.fixture
def config(tmp_path: Path, media: Path) -> str:
    return str(stand_in.write_config(tmp_path, media, SERVER))


@pytest.mark.long
def test_a_condemned_picture_is_traced_before_it_is_removed_and_can_be_asked_about(config: str, media: Path) -> None:
    done = program("scan", *FIRST, "--config", config, "--json")
    assert (done.json["block"], done.json["acted"]) == (2, 2), done
    assert not (media / CONDEMNED).exists()
    (record,) = program("show", CONDEMNED, "--config", config, "--json").json["traces"]
    assert (record["server"], record["state"]) == ("mastodon at social.example", "found")
    (sighting,) = record["sightings"]
    assert (sighting["kind"], sighting["way"], sighting["certainty"]) == ("upload", "path", "possible")
    assert sighting["record"] == "media_attachments/109876543210987654"
    assert sighting["local"] is True
    shown = program("show", AVATAR, "--config", config).out
    assert " traced by mastodon at social.example: found\n" in shown
    link = "https://social.example/admin/accounts/123456"
    assert f"    avatar  person 123456 (remote)  possible by path  accounts/123456  {link}\n" in shown
    assert program("ledger", "verify", "--config", config).code == 0
    # A later question is another attempt, and the first one stands.
    assert program("trace", AVATAR, "--config", config).code == 0
    assert len(program("show", AVATAR, "--config", config, "--json").json["traces"]) == 2


@pytest.mark.long
def test_a_key_a_hash_and_an_address_lead_to_the_same(config: str, media: Path) -> None:
    sha256 = hashlib.sha256((media / AVATAR).read_bytes()).hexdigest()
    program("scan", "--dry-run", "--config", config)
    answers = []
    for asked in (AVATAR, sha256, f"https://files.social.example/{AVATAR}", str(media / AVATAR)):
        done = program("trace", asked, "--config", config, "--json")
        assert done.code == 0, done
        (record,) = done.json["traces"]
        assert (record["key"], record["sha256"]) == (AVATAR, sha256)
        answers.append(record["sightings"])
    assert answers[1:] == answers[:-1]
    by_address = program("trace", f"https://files.social.example/{AVATAR}".replace("123", "124"), "--config", config)
    assert by_address.code == 0
    assert "accounts/124456" in by_address.out
    heading, listed = program("list", "--by", "person", "--config", config).out.splitlines()
    assert " ".join(heading.split()) == "condemned share at 95 % last traced from person"
    assert re.fullmatch(r"   1 of 1  20\.6 % to 100\.0 %  20..-..-..   remote  123456", listed), "1 of 1 is no 100 %"
    (line,) = program("list", "--by", "person", "--config", config, "--json").lines
    assert (line["person"], line["condemned"], line["of"], line["high"]) == ("123456", 1, 1, 1.0)
    none = program("list", "--by", "instance", "--config", config)
    assert (none.code, none.out) == (0, "")
    assert f"nothing that is condemned was traced to an instance yet; `{TYPED} show KEY --config {config}`" in none.err


@pytest.mark.long
def test_bad_input_gets_one_line(config: str, media: Path, tmp_path: Path) -> None:
    program("scan", "--dry-run", "--config", config)
    check_one_line_error(program("trace", "no/such/key", "--config", config), 2, "no/such/key")
    check_one_line_error(program("list", "--by", "person", "--partly", "--config", config), 2, "--by person")
    other = tmp_path / "other"
    other.mkdir()
    for section, *words in (
        ("", AVATAR, "no server is configured", "trace.server"),
        ('[trace]\nserver = "mastodont"', "mastodont", "no such server is known", "mastodon, glitch-soc"),
        ('[trace]\nurl = "https://social.example"', AVATAR, "no server is configured", "trace.server"),
        ('[trace]\nserver = "mastodon"\nurl = "https://me:pa55@social.example"', "trace.url", "name or password"),
    ):
        bad = str(stand_in.write_config(other, media, section))
        done = program("trace", AVATAR, "--config", bad)
        check_one_line_error(done, 2, *words)
        assert "pa55" not in done.err
    # A pass says it before it begins, whatever it would find.
    check_one_line_error(program("scan", "--dry-run", "--config", bad), 2, "trace.url")


@pytest.mark.long
def test_what_is_not_the_servers_is_unknown_with_a_reason(config: str, media: Path) -> None:
    (media / "elsewhere.png").write_bytes((media / AVATAR).read_bytes())
    program("scan", "--dry-run", "--config", config)
    done = program("trace", "elsewhere.png", "--config", config)
    assert done.code == 0
    assert "unknown: it is no path of mastodon's" in done.out
