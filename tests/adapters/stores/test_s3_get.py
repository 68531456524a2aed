"""A GET is the one that botocore would make, whoever makes it: the same URL, the same signature, the same headers."""

from __future__ import annotations

import hashlib
import math
import socket
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest, AWSResponse  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from fedi_safety.stores.s3.address import Address, Style
from fedi_safety.stores.s3.client import Body, _botocore
from fedi_safety.stores.s3.faults import Kind, Patience, S3Fault, guarded
from fedi_safety.stores.s3.get import Gets
from fedi_safety.stores.s3.obstore_gets import ObstoreGets, Refused

KEYS = ["pic", "a/b.jpg", "a b/c+d%41", "é/😀", "~'()*!;&=?#@:,$", "a//b", "../c/./d", "/lead", '"<>^`{|}\\', "\n\t"]
PLACES: list[tuple[str | None, str, Style]] = [
    ("http://127.0.0.1:9000", "us-east-1", "path"),
    ("http://[::1]:9000", "garage", "path"),
    ("https://s3.example.org", "eu-west-1", "path"),
    ("https://s3.example.org/behind/a/path", "eu-west-1", "path"),
    ("https://s3.example.org:8443", "fr-par", "virtual"),
    (None, "us-east-1", "auto"),
    (None, "eu-central-1", "virtual"),
]


class Wire:
    """In the place of the HTTP session: keeps what would be sent, and answers an empty listing or an empty object."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, request: Any) -> AWSResponse:
        self.sent.append(request)
        text = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>" if "?" in request.url else b""
        return AWSResponse(request.url, 200, {"ETag": '"e"', "Content-Length": "0"}, Raw(text))

    def close(self) -> None:
        pass


class Raw:
    def __init__(self, text: bytes) -> None:
        self.text = text

    def stream(self) -> list[bytes]:
        return [self.text]

    def read(self, count: int) -> bytes:
        return self.text

    def close(self) -> None:
        pass


def address(endpoint: str | None, region: str, style: Style, token: str | None = None) -> Address:
    return Address("pictures", "", endpoint, region, style, "AKID", "a secret/+", token)


def through(place: Address) -> tuple[Gets, Any, Wire]:
    """Return GETs that obstore has no part in, so that the wire sees them."""
    client = _botocore(place, 2, Patience())
    client._endpoint.http_session = wire = Wire()
    gets = Gets(client, place, Patience())
    gets._resting_until = math.inf
    return gets, client, wire


def said(request: Any) -> dict[str, str]:
    """Return a request's headers, without those that number botocore's requests and with the host that URL names."""
    kept = {}
    for name, value in request.headers.items():
        if not name.startswith("amz-sdk-"):
            kept[name.lower()] = value.decode() if isinstance(value, bytes) else value
    kept.setdefault("host", request.url.split("/")[2])
    return kept


@pytest.mark.sampled(5)
@pytest.mark.parametrize("token", [None, "a session/token=="])
@pytest.mark.parametrize(("endpoint", "region", "style"), PLACES)
def test_it_is_botocores_request(
    endpoint: str | None, region: str, style: Style, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gets, client, wire = through(address(endpoint, region, style, token))
    client.list_objects_v2(Bucket="pictures")
    for key in KEYS:
        client.get_object(Bucket="pictures", Key=key)
        theirs = wire.sent[-1]
        moment = said(theirs)["x-amz-date"]
        monkeypatch.setattr("fedi_safety.stores.s3.get.time.strftime", lambda *_, now=moment: now)
        monkeypatch.setattr(client, "get_object", None)
        answer = gets.get(key)
        monkeypatch.undo()
        ours = wire.sent[-1]
        assert ours is not theirs
        assert (ours.method, ours.url, ours.body) == (theirs.method, theirs.url, theirs.body)
        assert said(ours) == said(theirs)
        assert ours.stream_output
        assert {name: answer.get(name) for name in ("ETag", "ContentLength")} == {"ETag": '"e"', "ContentLength": "0"}


def test_versions_and_what_no_listing_came_before_go_the_long_way() -> None:
    gets, client, wire = through(address(*PLACES[0]))
    gets.get("pic")
    assert any(name.lower() == "amz-sdk-request" for name in wire.sent[-1].headers)
    client.list_objects_v2(Bucket="pictures")
    gets.get("pic", "v1")
    assert wire.sent[-1].url.endswith("/pictures/pic?versionId=v1")
    gets.get("pic")
    assert not any(name.lower() == "amz-sdk-request" for name in wire.sent[-1].headers)


@pytest.mark.parametrize("change", ["service", "signature", "no session"])
def test_what_is_signed_otherwise_goes_the_long_way(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if change == "signature":
        monkeypatch.setattr("botocore.auth.S3SigV4Auth._normalize_url_path", lambda _, path: path.upper())
    gets, client, wire = through(address(*PLACES[0]))
    if change == "no session":
        endpoint, client._endpoint = client._endpoint, None
        gets = Gets(client, address(*PLACES[0]), Patience())
        client._endpoint = endpoint
    elif change == "service":

        def express(request: Any, **_: object) -> None:
            text = request.headers["Authorization"].decode()
            request.headers["Authorization"] = text.replace("/s3/", "/s3express/")

        client.meta.events.register_first("before-send.s3.ListObjectsV2", express)
    client.list_objects_v2(Bucket="pictures")
    gets.get("pic")
    assert any(name.lower() == "amz-sdk-request" for name in wire.sent[-1].headers)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>", "NoSuchKey"),
        (503, b"<html>Service Unavailable</html>", "503"),
        (500, b"", "500"),
        (403, b"not XML at all", "403"),
        (307, b"<Error><Code>TemporaryRedirect</Code><Region>eu-west-9</Region></Error>", "TemporaryRedirect"),
    ],
)
def test_an_error_is_read_as_botocore_reads_it(status: int, body: bytes, code: str) -> None:
    gets, client, wire = through(address(*PLACES[0]))
    client.list_objects_v2(Bucket="pictures")
    wire.send = lambda request: AWSResponse(request.url, status, {"x-amz-request-id": "r"}, Raw(body))  # type: ignore[method-assign]
    found = []
    for ask in (gets.get, lambda key: client.get_object(Bucket="pictures", Key=key)):
        with pytest.raises(ClientError) as caught:
            ask("pic")
        meta = caught.value.response["ResponseMetadata"]
        found.append((caught.value.response["Error"], meta["HTTPStatusCode"], meta["HTTPHeaders"]))
    assert found[0] == found[1]
    assert found[0][0]["Code"] == code


def test_a_length_that_cannot_be_read_is_asked_for_again() -> None:
    answer = {"ETag": '"e"', "ContentLength": "many", "Body": Raw(b"data")}
    with pytest.raises(S3Fault, match="no length") as caught:
        Body(answer, Patience())
    assert caught.value.kind is Kind.AGAIN


def test_nothing_of_the_keys_shows() -> None:
    gets, client, _ = through(address(*PLACES[0], token="TOKEN"))
    client.list_objects_v2(Bucket="pictures")
    assert gets._pattern is not None
    shown = f"{gets._pattern!r} {gets!r}"
    assert "a secret" not in shown
    assert "TOKEN" not in shown


# --- obstore


class Service:
    """Answers GETs, and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Message]] = []
        self.body = b"a picture"
        self.headers = {"ETag": '"e"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
        self.status = 200
        self.cut = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append((self.path, self.headers))
                self.send_response(service.status)
                for name, value in service.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(service.body) + service.cut))
                self.end_headers()
                self.wfile.write(service.body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/behind/pictures/"


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    yield found
    found.server.shutdown()
    found.server.server_close()


def by_obstore(service: Service, patience: Patience | None = None) -> ObstoreGets:
    place = address(None, "garage", "path")
    return ObstoreGets(service.url, "garage", place, "fedi-safety/1 test", patience or Patience())


ITS_KEYS = [key for key in KEYS if ObstoreGets.takes(key)]


def test_obstore_asks_as_botocore_does(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "ENDPOINT_URL", "ENDPOINT_URL_S3"):
        monkeypatch.setenv(f"AWS_{name}", "http://another.example")
    monkeypatch.setattr("fedi_safety.stores.s3.obstore_gets.getproxies", dict)
    assert ObstoreGets.usable(service.url, address(*PLACES[0]))
    gets = by_obstore(service)
    assert len(ITS_KEYS) > 4
    _, client, _ = through(address(service.url.removesuffix("/pictures/"), "garage", "path"))
    for key in ITS_KEYS:
        answer = gets.get(key)
        assert Body(answer, Patience()).read(100) == service.body
        path, headers = service.asked[-1]
        theirs = client.generate_presigned_url("get_object", {"Bucket": "pictures", "Key": key})
        assert path == urlsplit(theirs).path
        request = AWSRequest(
            "GET", service.url.replace("/behind/pictures/", path), {"X-Amz-Date": headers["x-amz-date"]}
        )
        request.context["timestamp"] = headers["x-amz-date"]
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(b"").hexdigest()
        signer = S3SigV4Auth(Credentials("AKID", "a secret/+"), "s3", "garage")
        text = signer.string_to_sign(request, signer.canonical_request(request))
        assert headers["authorization"].endswith(f"Signature={signer.signature(text, request)}")
        assert headers["user-agent"] == "fedi-safety/1 test"
        assert headers["x-amz-security-token"] is None
    assert "a secret" not in repr(gets._store)


def test_keys_of_which_obstore_would_make_others_are_not_its() -> None:
    for key in ("/lead", "trail/", "a//b", "../c/./d", "a/..", ".", "\n", "a\x7f", "caf\udce9", ""):
        assert not ObstoreGets.takes(key), key
    for key in ("a/b.jpg", ".hidden/..x", "a/...", "é/😀", "a%2Fb"):
        assert ObstoreGets.takes(key), key


@pytest.mark.parametrize(
    ("name", "value", "secure", "usable"),
    [
        ("AWS_SSE_CUSTOMER_KEY_BASE64", "x", False, False),  # it would send a header that nobody asked for
        ("AWS_ALLOW_INVALID_CERTIFICATES", "true", False, False),
        ("https_proxy", "http://proxy.example:3128", False, False),
        ("AWS_CA_BUNDLE", "/etc/ssl/own.pem", True, False),
        ("AWS_CA_BUNDLE", "/etc/ssl/own.pem", False, True),
        ("AWS_DEFAULT_REGION", "eu-west-1", True, True),
    ],
)
def test_where_obstore_would_ask_otherwise_it_is_not_used(
    name: str, value: str, secure: bool, usable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    place = f"http{'s' * secure}://s3.example.org/pictures/"
    assert ObstoreGets.usable(place, address(*PLACES[0])) is usable
    assert not ObstoreGets.usable(place, address(*PLACES[0], token="TOKEN"))


def test_what_obstore_finds_wrong_is_told_apart(service: Service) -> None:
    patience = Patience(read_s=0.3, connect_s=0.3)
    gets = by_obstore(service, patience=patience)
    service.status, service.body = 403, b"<Error><Code>AccessDenied</Code></Error>"
    with pytest.raises(Refused) as refused:
        gets.get("pic")
    service.status, service.cut = 200, 5
    answer = gets.get("pic")["Body"]
    with pytest.raises(S3Fault, match="cut short") as caught:
        guarded(lambda: [answer.read1(100) for _ in range(2)])
    assert caught.value.kind is Kind.AGAIN
    for shown in (refused.value, caught.value):
        assert shown.__cause__ is None
        assert "AKID" not in f"{shown!r} {shown}"
    service.server.shutdown()
    service.server.server_close()
    with pytest.raises(S3Fault, match="refused") as gone:
        guarded(lambda: gets.get("pic"))
    assert gone.value.kind is Kind.AGAIN
    with socket.create_server(("127.0.0.1", 0)) as silent:
        service.url = f"http://127.0.0.1:{silent.getsockname()[1]}/pictures/"
        with pytest.raises(S3Fault, match="too slow"):
            guarded(lambda: by_obstore(service, patience=patience).get("pic"))


def test_after_a_failure_botocore_is_asked_for_a_while(service: Service) -> None:
    gets, client, wire = through(address(*PLACES[0]))
    client.list_objects_v2(Bucket="pictures")
    gets._obstore, gets._resting_until = by_obstore(service), 0.0
    service.status = 503
    asked = len(wire.sent)
    for _ in range(3):
        assert gets.get("pic")["ETag"] == '"e"'
    assert len(service.asked) == 1
    assert len(wire.sent) == asked + 3
    service.status = 200
    gets._resting_until = 0.0
    assert Body(gets.get("pic"), Patience()).read(100) == service.body
    assert len(service.asked) == 2


def test_without_an_etag_the_time_is_told(service: Service) -> None:
    del service.headers["ETag"]
    head = Body(by_obstore(service).get("pic"), Patience()).head
    assert (head.tag, head.mtime_ns) == ("", 1445412480 * 10**9)
    del service.headers["Last-Modified"]
    head = Body(by_obstore(service).get("pic"), Patience()).head
    assert (head.tag, head.mtime_ns) == ("", None)
