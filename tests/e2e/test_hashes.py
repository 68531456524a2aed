"""`hashes` from outside: what an administrator does with a list, and what bad input gets."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fedi_safety.cli import run
from fedi_safety.core.known.types import Entry, HashKind, KnownList
from support.judged_before import World, flipped, md5, pdq, sha
from support.program import Done, check_one_line_error, program
from support.servers.publishers import File, serving, status


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.catalog.close()
    made.ledger.dispose()


def written_config(world: World) -> Path:
    config = world.folder / "config.toml"
    keys = {"store": "store", "ledger": "ledger.db", "policy": "policy.toml"}
    config.write_text("".join(f"{key} = {json.dumps(str(world.folder / name))}\n" for key, name in keys.items()))
    return config


def hashes(world: World, *arguments: str) -> Done:
    return program(*arguments, "--config", str(written_config(world)))


@pytest.mark.long
def test_a_list_from_a_friend_from_import_to_drop(world: World) -> None:
    one = pdq()
    world.judged("cat", [one])
    world.judged("copy", [flipped(one, 10)])
    world.judged("other", [flipped(one, 25)])
    world.judged("bytes")
    path = world.folder / "friends.txt"
    path.write_bytes(f"\ufeffpdq {one.hex()}\r\nmd5 {md5('bytes').hex()}\r\npdna 00\r\nmd5 00\r\n".encode())
    dry = hashes(world, "hashes", "import", str(path), "--dry-run", "--json").json
    moves = [{"before": "clear", "then": "block", "contents": 4, "objects": 4}]
    assert (dry["accepted"], dry["applied"]["moves"]) == (2, moves)
    assert hashes(world, "hashes", "list", "--json").json == {"lists": []}
    done = hashes(world, "hashes", "import", str(path))
    assert done.code == 0, done
    assert "not usable here: 1 with PhotoDNA hashes, first line 3 (kind 'pdna')" in done.out
    assert "not usable here: 1 with a wrong length, first line 4 (2 characters, and md5 has 32)" in done.out
    assert "block instead of clear: 4 contents in 4 objects" in done.out
    assert "planned: 4 objects" in done.out
    shown = hashes(world, "show", "other").out
    assert f"entry {one.hex()} of friends at distance 25" in shown
    assert "decided anew for it: 2" in hashes(world, "dismiss", "cat").out
    (own, friends) = hashes(world, "hashes", "list", "--json").json["lists"]
    assert (own["name"], own["effect"], own["entries"]) == ("dismissed", "negative", {"sha256": 1, "pdq": 1})
    assert (friends["hits"], friends["dismissed"], friends["redistribute"]) == (2, 1, False)
    assert "2 hits, 0 confirmed, 1 dismissed" in hashes(world, "hashes", "show", "friends").out
    report = hashes(world, "report", "--json").json["lists"]
    assert [(each["name"], each["hits"], each["dismissed"]) for each in report] == [
        ("dismissed", own["hits"], own["dismissed"]),
        ("friends", 2, 1),
    ]
    assert "lists of known images" in hashes(world, "report").out
    met = hashes(world, "hashes", "match", flipped(one, 7).hex(), "--json").json["hits"]
    assert {(hit["list"], hit["distance"]) for hit in met} == {("friends", 7), ("dismissed", 7)}
    assert hashes(world, "hashes", "match", sha("nothing").hex()).out == "no list has it\n"
    assert "instead of" not in hashes(world, "hashes", "match").out
    assert "are whole: 4 entries" in hashes(world, "hashes", "verify").out
    assert hashes(world, "hashes", "drop", "friends", "--yes").code == 0
    assert world.planned() == []
    assert hashes(world, "ledger", "verify").code == 0


@pytest.mark.long
def test_what_may_not_be_passed_on_stays_and_what_may_is_read_again(world: World) -> None:
    path = world.folder / "mine.txt"
    path.write_text(f"pdq {pdq().hex()}\nmd5 {md5('x').hex()}\n")
    out = world.folder / "out.csv"
    assert hashes(world, "hashes", "import", str(path)).code == 0
    check_one_line_error(hashes(world, "hashes", "export", "mine", str(out)), 2, "mine", "redistribute")
    assert not out.exists()
    assert hashes(world, "hashes", "set", "mine", "--redistribute").code == 0
    assert "2 entries as csv" in hashes(world, "hashes", "export", "mine", str(out), "--format", "csv").out
    again = hashes(world, "hashes", "import", str(path), "--json").json
    assert (again["added"], again["removed"]) == (0, 0)
    assert hashes(world, "hashes", "import", str(out), "--name", "copy", "--json").json["accepted"] == 2
    assert json.loads(hashes(world, "hashes", "show", "mine", "--json").out)["redistribute"] is True


def test_bad_input_is_one_line_and_changes_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    config = written_config(world)

    def refused(code: int, *arguments: str, words: tuple[str, ...]) -> None:
        ended = run(["hashes", *arguments, "--config", str(config)])
        check_one_line_error(Done(ended, *capsys.readouterr()), code, *words)

    good, bad = world.folder / "list.txt", world.folder / "bad.txt"
    good.write_text(f"pdq {pdq().hex()}\n")
    bad.write_text("pdq 00\npdna 11\n")
    assert run(["hashes", "import", str(good), "--config", str(config)]) == 0
    capsys.readouterr()
    before = [entry.hash for entry in world.catalog.entries("list")]
    refused(2, "import", str(bad), "--name", "list", words=("bad.txt", "line 1", "as they were"))
    refused(2, "import", str(world.folder / "no"), "--name", "list", words=("no such file",))
    refused(2, "import", str(good), "--effect", "kill", words=("kill", "negative"))
    refused(2, "import", str(good), "--expires", "soon", words=("soon", "never"))
    refused(2, "import", str(good), "--distance", "90", words=("90", "64"))
    refused(2, "import", str(good), "--kind", "x", words=("--kind x", "pdq"))
    refused(2, "import", str(good), "--format", "x", words=("x", "stopncii"))
    refused(2, "show", "nothing", words=("nothing", "no such list"))
    refused(2, "set", "nothing", words=("nothing", "no such list"))
    refused(2, "export", "nothing", str(world.folder / "out"), words=("nothing", "no such list"))
    refused(2, "drop", "list", words=("--yes",))
    refused(2, "match", "neither", words=("neither", "no file and no hash"))
    assert [entry.hash for entry in world.catalog.entries("list")] == before
    for file in (world.folder / "known").glob("lists.sqlite*"):
        file.write_bytes(b"no database" * 100)
    refused(3, "list", words=("lists.sqlite",))


@pytest.mark.parametrize("there", [False, True])
def test_a_ledger_that_cannot_be_read_is_not_taken_for_one_without_hits(world: World, there: bool) -> None:
    world.take(KnownList("friends"), Entry(HashKind.PDQ, pdq(), "1"))
    other = world.folder / "other.db"
    if there:
        with closing(sqlite3.connect(other)) as database:
            database.execute("CREATE TABLE of_another_program (x)")
    config = written_config(world)
    text = config.read_text().replace("ledger.db", "other.db")
    config.write_text(f"{text}[known]\nfolder = {json.dumps(str(world.folder / 'known'))}\n")
    listed = program("hashes", "list", "--config", str(config))
    if there:
        check_one_line_error(listed, 2, "another program")
    else:
        assert (listed.code, "friends" in listed.out, "no hit" in listed.out) == (0, True, True)


def test_a_source_is_fetched_and_what_is_wrong_with_one_is_a_line(world: World) -> None:
    one = pdq()
    world.judged("near", [flipped(one, 9)])
    published = File(b"pdq " + one.hex().encode())
    with serving(published):
        config = written_config(world)
        none = program("hashes", "fetch", "--config", str(config))
        check_one_line_error(none, 2)
        assert "[[known.sources]]" in none.err
        table = f'[[known.sources]]\nname = "friends"\nkind = "url"\nurl = "{published.url}"\n'
        config.write_text(config.read_text() + table)
        done = program("hashes", "fetch", "friends", "--config", str(config))
        assert done.code == 0, done
        assert "friends (url): 1 new, 0 replaced, 0 removed" in done.out and "planned: 1 object" in done.out
        assert "nothing new" in program("hashes", "fetch", "--config", str(config)).out
        wrong = program("hashes", "fetch", "freinds", "--config", str(config))
        check_one_line_error(wrong, 2)
        assert "friends" in wrong.err
        published.spoil(status(403), times=9)
        refused = program("hashes", "fetch", "--config", str(config))
        check_one_line_error(refused, 2)
        assert "source friends: it does not accept the credentials (403)" in refused.err
