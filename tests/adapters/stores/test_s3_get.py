"""A short GET is the one that botocore would make: the same URL, the same signature, the same headers."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.awsrequest import AWSResponse  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from fedi_safety.stores.s3.address import Address, Style
from fedi_safety.stores.s3.client import Body, _botocore
from fedi_safety.stores.s3.faults import Kind, Patience, S3Fault
from fedi_safety.stores.s3.get import Gets

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
    client = _botocore(place, 2, Patience())
    client._endpoint.http_session = wire = Wire()
    return Gets(client, place), client, wire


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
        gets = Gets(client, address(*PLACES[0]))
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
