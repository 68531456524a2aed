"""What holds of every kind of server without a server: what is read, what is searched, and the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fedi_safety.clients.mastodon_api import SCOPE
from fedi_safety.clients.misskey import PERMISSIONS
from fedi_safety.core.sightings import SightingWay, Subject
from fedi_safety.tracing import KINDS, TracerKind
from fedi_safety.tracing.mbin import sha256_of
from fedi_safety.tracing.misskey import key_of, made_at
from fedi_safety.tracing.pixelfed import file_of as pixelfed_file
from fedi_safety.tracing.pleroma import ADVISED
from fedi_safety.tracing.pleroma import file_of as pleroma_file
from fedi_safety.tracing.questions import Query
from fedi_safety.tracing.whose import Whose, whose

DOCS = Path(__file__).parents[3] / "docs"
ASKED = [kind for kind in KINDS if hasattr(import_module(f"fedi_safety.tracing.{kind.name}"), "QUERIES")]
HASH = "e30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b"
each = pytest.mark.parametrize("kind", ASKED, ids=lambda kind: kind.name)


def queries(kind: TracerKind) -> dict[str, Query]:
    found: dict[str, Query] = import_module(f"fedi_safety.tracing.{kind.name}").QUERIES
    return found


@each
def test_every_question_has_a_limit_or_asks_for_one_record(kind: TracerKind) -> None:
    for name, query in queries(kind).items():
        one = re.search(r"WHERE (\w\.)?(id|sha256) = %\(\w+\)s$", query.sql)
        assert one or re.search(r" LIMIT \d+$", query.sql), f"{name}: {query.sql}"


def test_every_server_has_its_row_and_its_section() -> None:
    page = (DOCS / "trace-by-server.md").read_text("utf-8")
    overview = (DOCS / "trace.md").read_text("utf-8")
    for kind in ASKED:
        (row,) = re.findall(rf"^\| `{kind.servers[0]}`.*$", page, re.MULTILINE)
        (ways,) = re.findall(rf"^\| \[`{kind.servers[0]}`.*$", overview, re.MULTILINE)
        for server in kind.servers:
            assert f"`{server}`" in row and f"`{server}`" in ways
        for way in SightingWay:
            said = "API" if way is SightingWay.API else str(way)
            assert (said in ways) == (way in kind.ways), f"{kind.name}: {way}"
    assert f"{ADVISED};" in page
    for scope in (SCOPE, *PERMISSIONS):
        assert f"`{scope}`" in page


def test_it_is_said_where_a_server_has_questions_without_an_index() -> None:
    page = (DOCS / "trace-by-server.md").read_text("utf-8")
    sections = {title.lower(): text for title, text in re.findall(r"^## (.+)\n((?:(?!## ).*\n)+)", page, re.MULTILINE)}
    for kind in ASKED:
        (section,) = [text for title, text in sections.items() if title.startswith(kind.servers[0])]
        scans = any(query.scans for query in queries(kind).values())
        assert ("**Without an index:**" in section) == scans, kind.name


@pytest.mark.long
def test_paths_alone_load_no_http_client_and_no_driver_of_a_database() -> None:
    program = (
        "import sys; from fedi_safety.tracing import KINDS, open_tracer; from fedi_safety.config.schema import Trace\n"
        "for kind in KINDS: open_tracer(Trace(server=kind.servers[0], url='https://social.example'))\n"
        "print(sorted({'httpx', 'psycopg', 'sqlalchemy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("username", "domain", "known"),
    [
        ("ada", None, Whose("@ada", None, True, "1")),
        ("ada", "", Whose("@ada", None, True, "1")),
        ("eve", "far.example", Whose("@eve@far.example", "far.example", False, "1")),
        ("@eve@far.example", "far.example", Whose("@eve@far.example", "far.example", False, "1")),
        (None, "far.example", Whose(None, "far.example", False, "1")),
        ("", None, Whose(None, None, True, "1")),
    ],
)
def test_people_are_named_with_their_host(username: str | None, domain: str | None, known: Whose) -> None:
    assert whose(username, domain, None, "1") == known


def test_an_access_key_may_stand_in_the_database_with_whatever_stands_before_it() -> None:
    key = key_of(Subject(key="srv/files/thumbnail-0c1b2a39-4857-4665-9748-3f2e1d0c9b8a.webp"))
    assert key is not None
    name = "thumbnail-0c1b2a39-4857-4665-9748-3f2e1d0c9b8a.webp"
    assert key.candidates == (f"srv/files/{name}", f"files/{name}", name)
    assert not key.inside
    assert key_of(Subject(key="0C1B2A39-4857-4665-9748-3F2E1D0C9B8A")) is None


def test_ids_of_the_two_usual_kinds_tell_their_time() -> None:
    assert made_at("9abcdefg00") == made_at("9abcdefg00000000") == (946_684_800_000 + int("9abcdefg", 36)) / 1000
    for other in ("", "9abcdefg0", "5f1d7f3e9d1c2b0017a1b2c3", "9abcdefg-0", "9abcdefgé0"):
        assert made_at(other) is None


def test_parts_of_the_hash_before_a_name_belong_to_it_and_others_do_not() -> None:
    found = {path: pleroma_file(path) for path in (f"e3/03/97/{HASH}.png", f"aa/03/97/{HASH}.png", f"03/97/{HASH}.png")}
    assert [file and file.tail for file in found.values()] == [f"e3/03/97/{HASH}.png", f"{HASH}.png", f"{HASH}.png"]
    assert sha256_of(f"e3/03/{HASH}.png") == bytes.fromhex(HASH)
    assert sha256_of(f"03/e3/{HASH}.png") is None


def test_only_the_layout_with_a_profile_tells_one() -> None:
    older = pixelfed_file(f"public/m/{HASH[:40]}/{HASH[24:]}/a.jpg")
    assert older is not None and (older.layout, older.profile) == ("v1", None)
    newer = pixelfed_file("x/public/m/_v2/7/109a3c4d5-e6f708/AbCdEfGhIjKl/a.jpg")
    assert newer is not None
    assert (newer.layout, newer.profile) == ("v2", 7)
    assert newer.path == "public/m/_v2/7/109a3c4d5-e6f708/AbCdEfGhIjKl/a.jpg"
