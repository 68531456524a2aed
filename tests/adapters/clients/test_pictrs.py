"""The client of pict-rs against answers written by hand: what is understood, retried, and refused in which words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import httpx
import pytest

from fedi_safety.clients.pictrs import PictrsClient, PictrsRefusal, hash_of, internal_url, is_hash, slug_of
from fedi_safety.clients.pictrs_database import PictrsDatabase
from fedi_safety.clients.pictrs_purging import purge_picture
from fedi_safety.config.schema import Pictrs
from fedi_safety.core.enums import PlanState
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.types import Object
from fedi_safety.stores.pictrs import PictrsStore, open_pictrs

KEY = "very-secret-key"
Answer = Callable[[httpx.Request], httpx.Response]


def client(answer: Answer) -> PictrsClient:
    return PictrsClient("http://pictrs.test:8080", KEY, transport=httpx.MockTransport(answer), pause_s=0)


def fixed(status: int, body: object = "", **headers: str) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    return lambda _request: httpx.Response(status, text=text, headers=headers)


def entry(
    content: bytes, format_byte: int = 5, aliases: tuple[str, ...] = ("a.jpeg",), **details: str
) -> dict[str, object]:
    digest = hash_of(hashlib.sha256(content).digest(), len(content), format_byte)
    found: dict[str, object] = {"hex": digest, "aliases": list(aliases)}
    if details:
        found["details"] = {"width": 1, "height": 1, "content_type": "image/jpeg", "format": "Image", **details}
    return found


def listing(*entries: dict[str, object], following: str | None = None) -> dict[str, object]:
    page: dict[str, object] = {"limit": 20, "hashes": list(entries)}
    if following is not None:
        page["next"] = following
    return {"msg": "ok", "page": page}


def test_hash_and_slug_are_those_of_pictrs() -> None:
    content = b"hello pict-rs"
    digest = hash_of(hashlib.sha256(content).digest(), len(content), 7)
    assert digest == "fa8639d50a8c6ca5a89eb11a0b6be21898396f6179b44dd70c8e1db31f2625ce00000000000d07"
    assert slug_of(digest) == "-oY51QqMbKWonrEaC2viGJg5b2F5tE3XDI4dsx8mJc4AAAAAAA0H"
    assert is_hash(digest)
    assert not is_hash(digest[:-1])
    assert not is_hash(digest.upper())


def test_a_page_is_understood_and_the_key_goes_in_its_header() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        known = entry(b"one", aliases=("a.jpeg", "b.jpeg"), created_at="2024-03-04T15:35:36.765Z")
        return httpx.Response(200, json=listing(known, entry(b"two"), following="S"))

    page = client(answer).page(limit=2)
    assert page.next == "S"
    first, second = page.pictures
    assert (first.aliases, first.size, first.created_at) == (("a.jpeg", "b.jpeg"), 3, 1709566536.765)
    assert first.sha256 == hashlib.sha256(b"one").digest()
    assert second.created_at is None
    assert dict(seen[0].url.params) == {"limit": "2"}
    assert seen[0].headers["x-api-token"] == KEY


def test_a_slug_that_pictrs_does_not_have_is_not_taken_for_another() -> None:
    wanted = str(entry(b"wanted")["hex"])
    assert client(fixed(200, listing(entry(b"newest")))).find(wanted) is None
    assert client(fixed(200, listing())).find(wanted) is None
    found = client(fixed(200, listing(entry(b"wanted")))).find(wanted)
    assert found is not None
    assert found.hash == wanted


def test_a_content_is_found_in_whatever_format() -> None:
    animated = entry(b"moving", format_byte=3)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["slug"])
        hit = asked[-1] == slug_of(str(animated["hex"]))
        return httpx.Response(200, json=listing(animated if hit else entry(b"newest")))

    found = client(answer).find_content(hashlib.sha256(b"moving").digest(), 6)
    assert found is not None
    assert found.hash == animated["hex"]
    assert client(answer).find_content(hashlib.sha256(b"unknown").digest(), 7) is None
    assert len(set(asked)) == len(asked)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("answer", "words", "code"),
    [
        (
            fixed(401, {"msg": "Invalid API Key", "code": "invalid-api-token"}),
            ["API key is not accepted", "api_key"],
            2,
        ),
        (fixed(403, "no"), ["API key is not accepted"], 2),
        (
            fixed(200, "<html>hello</html>", **{"content-type": "text/html"}),
            ["not answer like a pict-rs", "text/html"],
            2,
        ),
        (fixed(200, {"error": "x"}), ["not answer like a pict-rs"], 2),
        (fixed(200, ["x"]), ["not answer like a pict-rs"], 2),
        (fixed(200, {"msg": "ok"}), ["listing is not understood"], 2),
        (fixed(200, {"msg": "ok", "page": {"hashes": [{"hex": "zz", "aliases": []}]}}), ["not understood"], 2),
        (fixed(404), ["no /internal/hashes", "0.5"], 2),
        (fixed(302, location="https://login.test/"), ["redirects elsewhere"], 2),
        (fixed(500, {"msg": "x", "code": "sled-error"}), ["answered 500 (sled-error)"], 3),
        (fixed(500, {"msg": "x", "code": "not-found"}), ["answered 500 (not-found)", "prune_missing"], 3),
        (fixed(502, "<html>bad gateway</html>"), ["answered 502"], 3),
    ],
)
def test_what_is_wrong_is_one_clear_line(answer: Answer, words: list[str], code: int) -> None:
    with pytest.raises(StoreError) as caught:
        client(answer).page()
    line = caught.value.line()
    assert "http://pictrs.test:8080" in line
    assert KEY not in line
    assert "\n" not in line
    assert caught.value.exit_code == code
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("failure", "tries", "words"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), 4, "cannot be reached: Connection refused"),
        (httpx.ReadTimeout("timed out"), 4, "no answer in time"),
        (httpx.RemoteProtocolError("illegal status line"), 4, "illegal status line"),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), 4, "certificate is not trusted"),
    ],
)
def test_lost_connections_are_tried_again_and_then_told(failure: httpx.HTTPError, tries: int, words: str) -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        raise failure

    with pytest.raises(StoreError) as caught:
        client(answer).page()
    assert words in caught.value.line()
    assert KEY not in caught.value.line()
    assert asked == tries
    assert caught.value.exit_code == 3


def test_a_passing_trouble_is_got_over() -> None:
    answers = [httpx.Response(503), httpx.Response(429), httpx.Response(200, json=listing(entry(b"one")))]
    assert len(client(lambda _request: answers.pop(0)).page().pictures) == 1
    assert not answers


def test_unknown_aliases_are_nothing_and_no_error() -> None:
    unknown = client(fixed(404, {"msg": "x", "code": "alias-not-found"}))
    assert unknown.aliases("x") == ()
    assert unknown.identifier("x") is None
    assert unknown.purge("x") is None
    assert unknown.delete("x") is False
    assert unknown.has_alias("x") is False
    # A picture whose file was removed behind pict-rs' back has its aliases still.
    assert client(fixed(500, {"msg": "x", "code": "not-found"})).has_alias("x") is True
    with pytest.raises(PictrsRefusal):
        client(fixed(400)).has_alias("x")


def test_an_alias_cannot_leave_its_place_in_the_path() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path.decode())
        return httpx.Response(404)

    assert client(answer).has_alias("../../internal/purge?alias=x") is False
    assert seen == ["/image/original/..%2F..%2Finternal%2Fpurge%3Falias%3Dx"]


def test_the_key_follows_no_redirect() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.host == "pictrs.test":
            return httpx.Response(303, headers={"location": "https://files.test/x"})
        return httpx.Response(200, content=b"bytes")

    with client(answer).original("a.jpeg") as response:
        assert response is not None
        assert response.read() == b"bytes"
    assert [r.url.host for r in seen] == ["pictrs.test", "files.test"]
    assert all(KEY not in str(r.headers) for r in seen)


def test_endless_redirects_end() -> None:
    with pytest.raises(PictrsRefusal), client(fixed(303, location="/again")).original("a"):
        pass


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("pictrs+http://Host:8080/", "http://host:8080"),
        ("http://host:80", "http://host"),
        ("pictrs+https://host:443/media/", "https://host/media"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_urls_have_one_form(given: str, canonical: str) -> None:
    assert internal_url(given) == canonical


@pytest.mark.parametrize(
    "url", ["http://", "ftp://host", "http://host:99999", "http://u:pw@host", "http://h/?x=1", "host"]
)
def test_what_is_no_url_of_a_pictrs_is_refused(url: str) -> None:
    with pytest.raises(StoreUsageError) as caught:
        internal_url(url)
    assert "pw" not in caught.value.line()


def test_a_key_is_needed_and_must_fit_a_header() -> None:
    with pytest.raises(StoreUsageError, match="no API key"):
        open_pictrs("pictrs+http://host:8080", Pictrs(url=None, api_key=None, database=None))
    with pytest.raises(StoreUsageError) as caught:
        PictrsClient("http://host", "two\nlines")
    assert "two" not in caught.value.line()


def removal(left: int, still_listed: bool = False) -> tuple[Answer, list[str]]:
    """Answers of a pict-rs whose removal takes `left` looks to finish."""
    asked: list[str] = []
    known = entry(b"bad", aliases=("a.jpeg", "b.jpeg"))

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        if request.url.path == "/internal/purge":
            return httpx.Response(200, json={"msg": "ok", "aliases": ["a.jpeg", "b.jpeg", "late.jpeg"]})
        if request.url.path == "/internal/identifier":
            return httpx.Response(200, json={"msg": "ok", "identifier": "01/8e/x.jpeg"})
        if request.method == "HEAD":
            return httpx.Response(200 if sum(a.startswith("HEAD") for a in asked) <= left else 404)
        return httpx.Response(200, json=listing(known if still_listed else entry(b"other")))

    return answer, asked


def test_a_purge_is_done_when_nothing_is_known_any_more() -> None:
    answer, asked = removal(left=4)
    (picture,) = client(fixed(200, listing(entry(b"bad", aliases=("a.jpeg", "b.jpeg"))))).page().pictures
    purged = purge_picture(client(answer), picture)
    assert purged.state is PlanState.DONE
    for word in ("a.jpeg", "b.jpeg", "01/8e/x.jpeg"):
        assert word in purged.detail
    assert "HEAD /image/original/late.jpeg" in asked, "an alias that appeared meanwhile is verified as well"
    assert purged.receipt["aliases"] == ("a.jpeg", "b.jpeg", "late.jpeg")
    assert (purged.receipt["picture"], purged.receipt["identifier"]) == (picture.hash, "01/8e/x.jpeg")
    assert "origins" not in purged.receipt, "without the database nobody can tell"


@pytest.mark.parametrize(
    ("left", "listed", "words"), [(10**9, False, "alias a.jpeg is still"), (0, True, "still listed")]
)
def test_a_purge_that_does_not_finish_is_a_failed_act(left: int, listed: bool, words: str) -> None:
    answer, _ = removal(left, listed)
    (picture,) = client(fixed(200, listing(entry(b"bad", aliases=("a.jpeg",))))).page().pictures
    purged = purge_picture(client(answer), picture, wait_s=0)
    assert purged.state is PlanState.FAILED
    assert words in purged.detail
    assert "01/8e/x.jpeg" in purged.detail
    assert purged.receipt["aliases"] == ("a.jpeg", "b.jpeg", "late.jpeg")


def test_what_pictrs_knew_outlives_its_going_down_after_the_purge() -> None:
    inner, asked = removal(0)

    def answer(request: httpx.Request) -> httpx.Response:
        if "POST /internal/purge" in asked:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        return inner(request)

    (picture,) = client(fixed(200, listing(entry(b"bad", aliases=("a.jpeg", "b.jpeg"))))).page().pictures
    purged = purge_picture(client(answer), picture)
    assert purged.state is PlanState.FAILED and "Connection refused" in purged.detail
    assert purged.receipt["aliases"] == ("a.jpeg", "b.jpeg", "late.jpeg")


def test_a_picture_without_alias_cannot_be_purged_and_says_so() -> None:
    (picture,) = client(fixed(200, listing(entry(b"bad", aliases=())))).page().pictures
    answer, asked = removal(0, still_listed=True)
    assert purge_picture(client(answer), picture, wait_s=0).state is PlanState.FAILED
    assert not any("purge" in a for a in asked)
    assert purge_picture(client(removal(0)[0]), picture, wait_s=0).state is PlanState.GONE
    assert purge_picture(client(answer), None).state is PlanState.GONE


class Listing:
    """A pict-rs' listing that can lose entries while it is read."""

    def __init__(self, contents: list[bytes]) -> None:
        self.entries = [entry(c, created_at=f"2024-01-01T00:00:{59 - i:02}Z") for i, c in enumerate(contents)]
        self.before: Callable[[int], None] = lambda _page: None
        self.pages = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.before(self.pages)
        self.pages += 1
        slugs = [slug_of(str(e["hex"])) for e in self.entries]
        slug, limit = request.url.params.get("slug"), int(request.url.params["limit"])
        at = slugs.index(slug) if slug in slugs else 0
        following = slugs[at + limit] if at + limit < len(slugs) else None
        return httpx.Response(200, json=listing(*self.entries[at : at + limit], following=following))


def store_of(answer: Answer, page: int = 3) -> PictrsStore:
    return PictrsStore(client(answer), page=page)


CONTENTS = [f"picture {i}".encode() for i in range(10)]


def keys(store: PictrsStore, *prefixes: str, since: float | None = None) -> list[str]:
    return [o.key for o in store.list(prefixes, since) if isinstance(o, Object)]


def test_the_store_lists_every_picture_once_newest_first() -> None:
    source = Listing(CONTENTS)
    store = store_of(source)
    assert keys(store) == [e["hex"] for e in source.entries]
    assert source.pages == 4
    (first, *_) = store.list()
    assert isinstance(first, Object)
    assert (first.size, first.mtime_ns) == (9, 1704067259 * 10**9)
    some = str(source.entries[5]["hex"])[:10]
    assert keys(store, some) == [source.entries[5]["hex"]]


@pytest.mark.parametrize("lost", [[3], [2, 3], [0, 1, 2, 3], [3, 4]])
def test_a_listing_goes_on_where_it_was_although_pictures_are_removed(lost: list[int]) -> None:
    source = Listing(CONTENTS)
    all_keys = [str(e["hex"]) for e in source.entries]

    def meddle(page: int) -> None:
        if page == 2:  # asked for from the slug of entry 6; entries 3 and up to 6 shift
            gone = {all_keys[i + 3] for i in lost}
            source.entries = [e for e in source.entries if e["hex"] not in gone]

    source.before = meddle
    listed = keys(store_of(source))
    assert len(listed) == len(set(listed))
    assert set(listed) >= {str(e["hex"]) for e in source.entries}


def test_a_listing_that_lost_everything_it_knew_says_so() -> None:
    source = Listing(CONTENTS)

    def meddle(page: int) -> None:
        if page == 1:
            source.entries = source.entries[4:]

    source.before = meddle
    with pytest.raises(StoreError, match="lost its place"):
        keys(store_of(source))


def test_since_ends_the_listing_early() -> None:
    source = Listing(CONTENTS)
    for i, old in enumerate(source.entries):
        details = old["details"]
        assert isinstance(details, dict)
        details["created_at"] = f"2024-01-{20 - i:02}T00:00:00Z"
    store = store_of(source)
    assert len(keys(store, since=1705536000.0)) == 3  # 2024-01-18
    assert source.pages == 2


def test_a_file_that_is_not_what_its_hash_says_is_never_returned() -> None:
    good = b"x" * 5000
    source = Listing([good])
    for body, reason in ((good[:-1], "changed"), (good + b"y", "changed"), (b"y" * 5000, "changed"), (good, None)):

        def answer(request: httpx.Request, body: bytes = body) -> httpx.Response:
            return httpx.Response(200, content=body) if "/image/" in request.url.path else source(request)

        store = store_of(answer)
        (obj,) = store.list()
        assert isinstance(obj, Object)
        heads: list[bytes] = []
        if reason is None:
            assert store.fetch(obj, heads.append) == good
            assert heads == [good[:4096]]
        else:
            with pytest.raises(Unscannable) as caught:
                store.fetch(obj, heads.append)
            assert caught.value.reason.value == reason
            assert len(heads) == 1, "shown once, however often it is read"


def test_another_alias_serves_when_the_listed_one_is_gone() -> None:
    source = Listing([b"content"])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/image/original/"):
            there = request.url.path.endswith("second.jpeg")
            return httpx.Response(200, content=b"content") if there else httpx.Response(404)
        return source(request)

    store = store_of(answer)
    (obj,) = store.list()
    assert isinstance(obj, Object)
    source.entries[0]["aliases"] = ["second.jpeg"]
    assert store.fetch(obj, lambda _head: None) == b"content"


@pytest.mark.parametrize(
    ("failures", "ends"),
    [
        ([httpx.ConnectError("[Errno 111] refused"), httpx.ReadError("reset"), httpx.Response(502)], None),
        ([httpx.ConnectError("[Errno 111] refused")] * 9, StoreError),
        ([httpx.ReadError("reset")] * 9, Unscannable),
        ([httpx.Response(502)] * 9, Unscannable),
    ],
)
def test_a_fetch_gets_over_a_restart_and_tells_an_outage(
    failures: list[httpx.TransportError | httpx.Response], ends: type[Exception] | None
) -> None:
    source = Listing([b"content"])
    left = list(failures)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/internal/"):
            return source(request)
        if not left:
            return httpx.Response(200, content=b"content")
        failure = left.pop(0)
        if isinstance(failure, httpx.Response):
            return failure
        raise failure

    store = store_of(answer)
    (obj,) = store.list()
    assert isinstance(obj, Object)
    if ends is None:
        assert store.fetch(obj, lambda _head: None) == b"content"
    else:
        with pytest.raises(ends):
            store.fetch(obj, lambda _head: None)
        assert len(left) == 5


def test_removing_another_content_than_the_key_names_is_refused() -> None:
    source = Listing([b"content"])
    store = store_of(source)
    (obj,) = store.list()
    assert isinstance(obj, Object)
    assert store.remove(obj, hashlib.sha256(b"other").digest()).state is PlanState.CHANGED
    assert store.remove(Object("../x", 1, 1), b"").state is PlanState.GONE


def test_a_database_that_cannot_be_read_keeps_its_password() -> None:
    database = PictrsDatabase("postgresql://user:pass-word@127.0.0.1:1/pictrs")
    with pytest.raises(StoreError) as caught:
        database.owner(["x"])
    assert "pass-word" not in caught.value.line()
    assert "pictrs.database" in caught.value.line()
