"""One contract, the same cases over every kind of server of the table; a last test counts them.

A harness says what a server's own paths look like. What only one kind promises is in tests/adapters/tracing/.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from fedi_safety.config.schema import Trace
from fedi_safety.core.errors import TraceError, TraceUsageError
from fedi_safety.core.ports import Tracer
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing import KINDS, kind_of, open_tracer
from support.cases import Ran

SERVERS = tuple(server for kind in KINDS for server in kind.servers)
CASES: list[str] = []

SECRET = "s3cret-never-shown"
URL = "https://social.example"
NOWHERE = "127.0.0.1:9"  # nobody listens there


@dataclass(frozen=True, slots=True)
class Known:
    """A key as the server writes it, and what its path alone must tell."""

    key: str
    kind: SightingKind
    record: str | None = None
    person_id: str | None = None


@dataclass(frozen=True, slots=True)
class Harness:
    """What a kind of server is tried with. `strange` are keys that are none of its own."""

    known: tuple[Known, ...]
    strange: tuple[str, ...] = ("", "readme.txt", "some/other/0123.png", "../../etc/passwd")
    # What the path tells nothing of, and a better way might; None where the path is what the better ways need.
    closed_to_path: Subject | None = None
    telling: int = 0  # of `known`, the one that every better way can be asked about


HARNESSES: dict[str, Harness] = {
    "mastodon": Harness(
        known=(
            Known(
                "media_attachments/files/109/876/543/210/987/654/original/0123456789abcdef.png",
                SightingKind.UPLOAD,
                "media_attachments/109876543210987654",
            ),
            Known(
                "cache/accounts/avatars/000/123/456/original/0123456789abcdef.jpg",
                SightingKind.AVATAR,
                "accounts/123456",
                "123456",
            ),
            Known("accounts/headers/000/000/007/original/fedcba9876543210.jpg", SightingKind.BANNER, "accounts/7", "7"),
            Known("custom_emojis/images/000/012/345/static/0123456789abcdef.png", SightingKind.EMOJI),
            Known("cache/preview_cards/images/001/234/567/original/0123456789abcdef.jpg", SightingKind.LINK_PREVIEW),
        ),
        strange=(
            "",
            "readme.txt",
            "../../etc/passwd",
            "media_attachments/files/109/876/543/210/original/0123456789abcdef.png",
            "media_attachments/files/109/876/x43/210/987/654/original/0123456789abcdef.png",
            "media_attachments/files/original/0123456789abcdef.png",
            "reports/files/000/123/456/original/0123456789abcdef.png",
        ),
        telling=1,
    ),
}


HASH = "e30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b"
UUID = "0c1b2a39-4857-4665-9748-3f2e1d0c9b8a"
MONTH = "109a3c4d5-e6f708"


HARNESSES |= {
    "misskey": Harness(
        known=(
            Known(f"files/{UUID}", SightingKind.UPLOAD, f"drive_file/{UUID}"),
            Known(f"thumbnail-{UUID}", SightingKind.UPLOAD, f"drive_file/thumbnail-{UUID}"),
            Known(f"media/webpublic-{UUID}.webp", SightingKind.UPLOAD, f"drive_file/webpublic-{UUID}.webp"),
        ),
        strange=("", "readme.txt", UUID[:-1], f"{UUID}/original.png", f"small-{UUID}.png", f"{UUID}.png.bak.old/"),
    ),
    "pixelfed": Harness(
        known=(
            Known(f"public/m/_v2/371/{MONTH}/AbCdEfGhIjKl/{'x' * 40}.jpg", SightingKind.UPLOAD, None, "371"),
            Known(f"public/m/_v2/371/{MONTH}/AbCdEfGhIjKl/{'x' * 40}_thumb.jpg", SightingKind.UPLOAD, None, "371"),
            Known(f"public/m/{HASH[:40]}/{HASH[20:60]}/abc.jpg", SightingKind.UPLOAD),
            Known("public/cache/avatars/371/avatar_abc.png", SightingKind.AVATAR, "avatars/371", "371"),
            Known("public/_esm.t3/Ab3dEf/Gh1jKl/AbCdEf_x/0123.jpg", SightingKind.POST),
            Known("public/emoji/far.example/party.png", SightingKind.EMOJI),
        ),
        strange=(
            "",
            "readme.txt",
            f"m/_v2/371/{MONTH}/AbCdEfGhIjKl/x.jpg",
            f"public/m/_v2/x371/{MONTH}/AbCdEfGhIjKl/x.jpg",
            f"public/m/{HASH[:39]}/{HASH[20:60]}/abc.jpg",
            "public/avatars/default.jpg",
        ),
        closed_to_path=Subject(key="readme.txt", sha256=bytes(32)),
    ),
    "pleroma": Harness(
        known=(
            Known(f"{HASH}.png", SightingKind.UPLOAD),
            Known(f"uploads/e3/03/97/{HASH}.jpeg", SightingKind.UPLOAD),
            Known(f"{UUID}/cat.png", SightingKind.UPLOAD),
        ),
        strange=("", "readme.txt", f"{HASH[:-1]}.png", f"{HASH.upper()}.png", f"{UUID}/", UUID, f"{UUID}/a/b.png"),
        closed_to_path=Subject(key="readme.txt", sha256=bytes(32)),
    ),
    "piefed": Harness(
        known=(
            Known("app/static/media/posts/aB/3d/aB3dEfGhIjKlMnO.jpg", SightingKind.UPLOAD),
            Known("users/xY/z0/xYz0EfGhIjKlMnO.webp", SightingKind.AVATAR),
            Known("communities/xY/z0/xYz0EfGhIjKlMnO_thumb.webp", SightingKind.ICON),
        ),
        strange=(
            "",
            "readme.txt",
            "posts/aB/3d/xx3dEfGhIjKlMnO.jpg",
            "posts/aB3dEfGhIjKlMnO.jpg",
            "feeds/aB/3d/aB3dEfGhIjKlMnO.jpg",
        ),
    ),
    "mbin": Harness(
        known=(
            Known(f"media/e3/03/{HASH}.jpg", SightingKind.UPLOAD, f"image/{HASH}"),
            Known(f"public/media/cache/entry_thumb/e3/03/{HASH}.jpg.webp", SightingKind.UPLOAD, f"image/{HASH}"),
        ),
        strange=("", "readme.txt", f"{HASH}.jpg", f"e3/04/{HASH}.jpg", f"media/e3/03/{HASH[:-2]}.jpg"),
        closed_to_path=Subject(key="readme.txt", sha256=bytes(32)),
    ),
    "lemmy": Harness(
        known=(
            Known("pictrs/image/2b1c6f1e-6d0a-4a37-9a51-4d7d4ac6f8b1.png", SightingKind.UPLOAD),
            Known("api/v4/image/eOtYb9iEiB.jpeg", SightingKind.UPLOAD, "local_image/eOtYb9iEiB.jpeg"),
            Known("files/01/8e/0a/1b/2c/3d/7e/4f/80/9a/bcdef0123456.webp", SightingKind.UPLOAD),
            Known("files/000/017/2b1c6f1e-6d0a-4a37-9a51-4d7d4ac6f8b1", SightingKind.UPLOAD),
        ),
        strange=(
            "",
            "readme.txt",
            "../../etc/passwd",
            "image/2b1c6f1e-6d0a-4a37-9a51-4d7d4ac6f8b1.png",
            "files/01/8e/0a/1b/2c/3d/4e/4f/80/9a/bcdef0123456.webp",
            "files/2b1c6f1e-6d0a-4a37-9a51-4d7d4ac6f8b1.png",
            "pictrs/image/process.webp/x",
        ),
        closed_to_path=Subject(aliases=("2b1c6f1e-6d0a-4a37-9a51-4d7d4ac6f8b1.png",)),
    ),
}


def case(test: Callable[..., None]) -> Callable[..., None]:
    CASES.append(test.__name__)
    return test


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def harness(server: str) -> Harness:
    return HARNESSES[kind_of(server).name]


@pytest.fixture
def tracer(server: str, request: pytest.FixtureRequest, ran: Ran) -> Iterator[Tracer]:
    tracer = opened(server)
    yield tracer
    tracer.close()
    if request.function.__name__ in CASES:
        ran.note(server, request.function.__name__)


def opened(server: str, **access: object) -> Tracer:
    tracer = open_tracer(Trace.model_validate({"server": server, "url": URL} | access))
    assert tracer is not None
    return tracer


def closed_ways(server: str) -> dict[SightingWay, dict[str, object]]:
    """The better ways that the server has, each as an access at which nobody answers."""
    ways: dict[SightingWay, dict[str, object]] = {
        SightingWay.DATABASE: {"database": SecretStr(f"postgresql://reader:{SECRET}@{NOWHERE}/server")},
        SightingWay.API: {"url": f"http://{NOWHERE}", "token": SecretStr(SECRET)},
    }
    return {way: access for way, access in ways.items() if way in kind_of(server).ways}


def test_every_kind_has_a_harness_and_a_name_of_its_own() -> None:
    assert HARNESSES.keys() == {kind.name for kind in KINDS}
    assert len(set(SERVERS)) == len(SERVERS)
    for name, harness in HARNESSES.items():
        assert harness.known, f"{name} is tried with no path of its own"
        assert SightingWay.PATH in kind_of(name).ways


@case
def test_its_own_paths_tell_what_they_are(tracer: Tracer, harness: Harness) -> None:
    for known in harness.known:
        found = tracer.trace(Subject(key=known.key), within_s=5)
        assert (found.closed, found.unknown) == ((), ""), known.key
        (sighting,) = found.sightings
        assert (sighting.kind, sighting.way) == (known.kind, SightingWay.PATH), known.key
        assert sighting.certainty is Certainty.POSSIBLE, "a path is no record"
        assert known.record in (None, sighting.record)
        assert known.person_id == sighting.person_id


@case
def test_a_store_that_is_scanned_from_further_up_tells_the_same(tracer: Tracer, harness: Harness) -> None:
    for known in harness.known:
        near = tracer.trace(Subject(key=known.key), within_s=5)
        assert tracer.trace(Subject(key=f"srv/live/{known.key}"), within_s=5) == near


@case
def test_an_address_tells_what_the_key_tells(tracer: Tracer, harness: Harness) -> None:
    for known in harness.known:
        url = f"https://files.example/{quote(known.key)}?x=1"
        assert tracer.trace(Subject(url=url), within_s=5) == tracer.trace(Subject(key=known.key), within_s=5)


@case
def test_what_is_not_its_own_is_unknown_with_a_reason(tracer: Tracer, harness: Harness) -> None:
    for key in harness.strange:
        found = tracer.trace(Subject(key=key), within_s=5)
        assert found.sightings == (), key
        assert found.unknown, key
    assert tracer.trace(Subject(sha256=bytes(32)), within_s=5).sightings == ()


@case
def test_hostile_names_end_in_an_answer_and_reach_no_output(tracer: Tracer, harness: Harness) -> None:
    own = harness.known[0].key
    for bad in ("\x00", "\n", "\udcff", "\x1b[31m", "'; DROP TABLE statuses; --", "%", "é" * 5000, "/" * 100_000):
        for key in (bad, f"{bad}/{own}", f"{own}{bad}", own.replace("/", f"{bad}/")):
            found = tracer.trace(Subject(key=key), within_s=5)
            assert found.unknown.isprintable()
            for sighting in found.sightings:
                assert all(text.isprintable() for text in texts(sighting)), (bad, sighting)
        for url in (f"https://files.example/{quote(bad, errors='surrogateescape')}", f"http://[{bad}", bad):
            assert isinstance(tracer.trace(Subject(url=url), within_s=5), Traced)


@case
def test_asking_twice_changes_nothing_and_takes_no_longer_than_it_may(tracer: Tracer, harness: Harness) -> None:
    began = time.monotonic()
    answers = {tracer.trace(Subject(key=harness.known[0].key), within_s=1) for _ in range(20)}
    assert len(answers) == 1
    assert time.monotonic() - began < 20


@case
def test_its_name_tells_server_and_place_and_no_secret(tracer: Tracer, server: str) -> None:
    assert server in tracer.name
    assert "social.example" in tracer.name
    for access in closed_ways(server).values():
        secretive = opened(server, **access)
        assert SECRET not in secretive.name
        secretive.close()


@case
def test_a_better_way_that_is_closed_leaves_the_path_and_is_named(
    tracer: Tracer, server: str, harness: Harness
) -> None:
    for way, access in closed_ways(server).items():
        poorer = opened(server, **access)
        try:
            found = poorer.trace(Subject(key=harness.known[harness.telling].key), within_s=5)
            assert [s.way for s in found.sightings] == [SightingWay.PATH]
            assert len(found.closed) == 1, f"{way} was closed, and nothing says so"
            assert SECRET not in found.closed[0]
            # Where the path tells nothing, nobody knows: that is an error, to be tried again.
            if harness.closed_to_path is not None:
                with pytest.raises(TraceError) as caught:
                    poorer.trace(harness.closed_to_path, within_s=5)
                assert SECRET not in caught.value.line()
            # What no way could tell of is asked of nobody.
            assert poorer.trace(Subject(key=harness.strange[1]), within_s=5).unknown
        finally:
            poorer.close()
    assert tracer.trace(Subject(key=harness.known[0].key), within_s=5).closed == ()


@case
def test_a_way_that_it_has_not_is_refused_by_name(tracer: Tracer, server: str) -> None:
    closed = closed_ways(server)
    for way, access in (
        (SightingWay.DATABASE, {"database": SecretStr(SECRET)}),
        (SightingWay.API, {"token": SecretStr(SECRET)}),
    ):
        if way in closed:
            continue
        with pytest.raises(TraceUsageError, match="leave it out") as caught:
            opened(server, **access)
        assert SECRET not in caught.value.line()
    if SightingWay.API in closed:
        with pytest.raises(TraceUsageError, match=r"set `trace\.url`"):
            opened(server, url=None, token=SecretStr(SECRET))
        with pytest.raises(TraceUsageError, match="no header can carry") as caught:
            opened(server, token=SecretStr(f"{SECRET}\n"))
        assert SECRET not in caught.value.line()
    tracer.close()  # twice, with the fixture's own


@case
def test_an_address_that_is_none_is_refused_without_repeating_it(tracer: Tracer, server: str) -> None:
    for url in ("social.example", "ftp://social.example", f"https://me:{SECRET}@social.example", "http://[", "http://"):
        with pytest.raises(TraceUsageError, match=r"trace\.url") as caught:
            opened(server, url=url)
        assert SECRET not in caught.value.line()
    assert tracer.name


def texts(sighting: Sighting) -> list[str]:
    fields = ("url", "person", "instance", "record", "post_id", "person_id")
    return [text for name in fields if (text := getattr(sighting, name)) is not None]


def test_a_server_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(TraceUsageError, match="use one of: mastodon") as caught:
        open_tracer(Trace(server="mastodont"))
    assert caught.value.exit_code == 2
    assert open_tracer(Trace()) is None
    with pytest.raises(TraceUsageError, match="no server is named"):
        open_tracer(Trace(token=SecretStr(SECRET)))


def test_every_case_ran_over_every_server(ran: Ran) -> None:
    """A skip, or a suite that was not collected, would pass as well; this counts (must stand last)."""
    assert len(CASES) == 10
    assert ran.counts() == dict.fromkeys(SERVERS, len(CASES))
