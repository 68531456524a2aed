"""Misskey's API tells whose a file is. The server is a fake; all that is said is held to Misskey's own types."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from fedi_safety.clients.misskey import PERMISSIONS
from fedi_safety.config.schema import Trace
from fedi_safety.core.ports import Tracer
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject
from fedi_safety.tracing import open_tracer
from support.servers.misskey import (
    MADE,
    TOKEN,
    MisskeyServer,
    drive_file,
    misskey_server,
    note,
    user_detailed,
    user_lite,
)
from support.servers.misskey_types import Exchange, problems

UUID = "0c1b2a39-4857-4665-9748-3f2e1d0c9b0"
AT = datetime.fromisoformat(MADE).astimezone(UTC).timestamp()
WIDE = "https://cdn.example"


@pytest.fixture
def server() -> Iterator[MisskeyServer]:
    with misskey_server() as running:
        files, own = running.files, running.url
        files.append(drive_file("f1", "u1", None, f"{UUID}1", f"{own}/files/{UUID}1"))
        files.append(drive_file("f2", "u1", None, f"{UUID}2", f"{own}/files/{UUID}2"))
        files.append(drive_file("f3", "u2", "far.example", f"p/{UUID}3.png", f"{WIDE}/p/{UUID}3.png"))
        files.append(drive_file("f4", None, None, f"{UUID}4", f"{own}/files/{UUID}4"))
        files.append(drive_file("f5", "gone", None, f"{UUID}5", f"{own}/files/{UUID}5"))
        proxied = (
            f"{own}/proxy/avatar.webp?url={own.replace(':', '%3A').replace('/', '%2F')}%2Ffiles%2F{UUID}2&avatar=1"
        )
        running.users["u1"] = user_detailed("u1", "ada", None, proxied, f"{own}/files/{UUID}2")
        running.users["u2"] = user_detailed("u2", "eve", "far.example", "https://far.example/a.png", None)
        ada = user_lite("u1", "ada", None, proxied)
        eve = user_lite("u2", "eve", "far.example", "https://far.example/a.png")
        running.notes.append(note("n1", ada, ["f1"], "public"))
        running.notes.append(note("n2", eve, ["f1", "f3"], "specified", "https://far.example/n/2"))
        yield running


@pytest.fixture
def tracer(server: MisskeyServer) -> Iterator[Tracer]:
    yield from opened(server)


def opened(server: MisskeyServer, token: str = TOKEN) -> Iterator[Tracer]:
    tracer = open_tracer(Trace(server="misskey", url=server.url, token=SecretStr(token)))
    assert tracer is not None
    yield tracer
    tracer.close()


def seen(
    kind: SightingKind,
    person: str | None,
    instance: str,
    person_id: str | None,
    file: str,
    url: str | None,
    post_id: str | None = None,
) -> Sighting:
    local = instance != "far.example"
    return Sighting(
        kind,
        SightingWay.API,
        Certainty.CERTAIN,
        url,
        person,
        instance,
        local,
        AT,
        f"drive_file/{file}",
        post_id,
        person_id,
    )


def expected(server: MisskeyServer) -> dict[Subject, list[Sighting]]:
    host = server.url.removeprefix("http://")
    ada, page = f"@ada@{host}", f"{server.url}/admin/user/u1"
    eve = ("@eve@far.example", "far.example", "u2")
    return {
        Subject(key=f"files/{UUID}1"): [
            seen(SightingKind.POST, ada, host, "u1", "f1", f"{server.url}/notes/n1", "n1"),
            seen(SightingKind.MESSAGE, *eve, "f1", "https://far.example/n/2", "n2"),
        ],
        Subject(key=f"{UUID}2"): [
            seen(SightingKind.AVATAR, ada, host, "u1", "f2", page),
            seen(SightingKind.BANNER, ada, host, "u1", "f2", page),
        ],
        Subject(url=f"{WIDE}/p/{UUID}3.png"): [seen(SightingKind.MESSAGE, *eve, "f3", "https://far.example/n/2", "n2")],
        Subject(key=f"{UUID}4"): [seen(SightingKind.UPLOAD, None, host, None, "f4", None)],
        Subject(key=f"{UUID}5"): [seen(SightingKind.UPLOAD, None, host, "gone", "f5", f"{server.url}/admin/user/gone")],
    }


def test_notes_pictures_and_uploads_are_found(server: MisskeyServer, tracer: Tracer) -> None:
    for subject, sightings in expected(server).items():
        found = tracer.trace(subject, within_s=30)
        assert list(found.sightings) == sightings, subject
        assert (found.closed, found.unknown) == ((), "")
        assert "said" not in str(found) and "192.0.2.1" not in str(found)


@pytest.mark.needs("misskey-js")
def test_what_is_asked_and_answered_is_what_misskeys_own_types_allow(server: MisskeyServer, tracer: Tracer) -> None:
    for subject in (*expected(server), Subject(key=f"{UUID}9")):
        tracer.trace(subject, within_s=30)
    assert {one.endpoint for one in server.exchanges} == {
        "admin/drive/show-file",
        "drive/files/attached-notes",
        "users/show",
    }
    assert any(one.failed for one in server.exchanges)
    assert problems(server.exchanges, PERMISSIONS) == []
    # The compiler does look: each of these says something that the types do not allow.
    (shown,) = [one for one in server.exchanges if one.endpoint == "admin/drive/show-file" and not one.failed][:1]
    wrong = [
        Exchange(shown.endpoint, {"uri": "x"}, shown.answered),
        Exchange(shown.endpoint, shown.asked, {k: v for k, v in shown.answered.items() if k != "userHost"}),
        Exchange(shown.endpoint, shown.asked, shown.answered | {"userId": 7}),
        Exchange("admin/drive/show-files", shown.asked, shown.answered),
    ]
    said = problems(wrong, ["read:everything"])
    assert {line.partition(":")[0] for line in said} == {"0", "1", "2", "3", "4"}, said


def test_what_it_does_not_have_is_nothing_and_what_no_key_tells_is_unknown(
    server: MisskeyServer, tracer: Tracer
) -> None:
    inside = tracer.trace(Subject(key=f"{UUID}9"), within_s=30)
    assert inside.unknown == "the API knows of no such record"
    outside = tracer.trace(Subject(key=f"p/{UUID}3.png"), within_s=30)
    assert "which the key does not tell" in outside.unknown
    assert {s.way for found in (inside, outside) for s in found.sightings} == {SightingWay.PATH}


@pytest.mark.parametrize(
    ("endpoint", "answer", "line"),
    [
        ("admin/drive/show-file", (403, {"error": {"code": "ROLE_PERMISSION_DENIED"}}), "may not do this"),
        ("admin/drive/show-file", (500, {}), "it answered 500"),
        ("admin/drive/show-file", (200, {"id": 7}), "its answer is not understood"),
        ("admin/drive/show-file", (200, [1]), "its answer is not understood"),
        ("drive/files/attached-notes", (200, {"a": 1}), "its answer is not understood"),
        ("drive/files/attached-notes", (200, [{"id": "n1"}]), "its answer is not understood"),
        ("users/show", (200, {"id": "u1", "username": ["ada"]}), "its answer is not understood"),
    ],
)
def test_what_is_no_answer_closes_the_way_and_leaves_the_path(
    server: MisskeyServer, tracer: Tracer, endpoint: str, answer: tuple[int, object], line: str
) -> None:
    server.broken[endpoint] = answer
    found = tracer.trace(Subject(key=f"{UUID}1"), within_s=30)
    assert [s.way for s in found.sightings] == [SightingWay.PATH]
    (closed,) = found.closed
    assert line in closed and closed.startswith("API of misskey: ")


def test_a_token_that_is_not_accepted_is_not_repeated(server: MisskeyServer) -> None:
    for tracer in opened(server, "another-t0ken"):
        (closed,) = tracer.trace(Subject(key=f"{UUID}1"), within_s=30).closed
        assert "does not accept the token" in closed and "another" not in closed
