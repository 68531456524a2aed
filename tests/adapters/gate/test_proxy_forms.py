"""Forms on an upload path: every file that any server's parser finds is judged, or the request is refused."""

from __future__ import annotations

import json
import random
from collections import Counter
from urllib.parse import urlencode

import pytest

from fedi_safety.gate.proxy.package import Package
from fedi_safety.gate.responses import Refusal
from support.hostile.multipart import PICTURE, READERS, SPOILS, Request, hostile, plain, seeds
from support.hostile.reading import read
from support.share import Share


def form(*parts: bytes, boundary: bytes = b"b0undary", header: bytes | None = None) -> Request:
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
    return Request((header or b"multipart/form-data; boundary=" + boundary,), body)


def part(data: bytes, *, name: bytes = b"file", more: bytes = b"", file: bytes | None = b"a.png") -> bytes:
    named = b"" if file is None else b'; filename="%s"' % file
    return b'Content-Disposition: form-data; name="%s"%s\r\n%s\r\n%s' % (name, named, more, data)


def data_of(package: Package) -> list[bytes]:
    return [file.data for file in package.files]


def test_no_server_finds_a_file_that_was_not_judged(share: Share) -> None:
    count = share.of(250, 5_000)
    told: Counter[str] = Counter()
    for seed in seeds(count, share.seed):
        request, names = hostile(seed)
        at_once = random.Random(seed).choice([0, 1, 7, 64])
        try:
            package = read(request, at_once)
        except Refusal as refusal:
            assert refusal.status in (400, 413), (seed, names)
            told["refused"] += 1
            continue
        told["read"] += 1
        assert b"".join(package.pieces) == request.body, (seed, names)
        for name, reader in READERS.items():
            missed = [file for file in reader(request) if file and file not in data_of(package)]
            assert not missed, f"seed {seed}: {name} finds a file that was not judged, after {names}: {request}"
            told[name] += len(reader(request))
    share.figure(f"{count} forms: " + ", ".join(f"{key} {value}" for key, value in sorted(told.items())))
    assert told["read"] > count / 10 and told["refused"] > count / 3
    assert all(told[name] for name in READERS), "a reader that finds nothing proves nothing"


READ_ALIKE = frozenset(
    {
        "nothing",
        # --- honest clients write so
        "quoted", "type in capitals", "utf-8", "a tab", "a blank line before", "no last line end", "binary",
        "a disposition of capitals", "an extended file name", "an empty file name", "no file name",
        "no file name, and no type", "octets without a name",
        # --- no part begins or ends by it
        "another form in the data", "the boundary of two dashes fewer",
    }
)  # fmt: skip
"""What may be done to a form; what else is done to it is refused."""


@pytest.mark.parametrize("name", sorted(SPOILS))
def test_each_way_to_spoil_a_form_is_refused_or_read_by_all_alike(name: str) -> None:
    spoiled = 0
    for seed in range(4):
        drawn = random.Random(seed)
        draft = plain(drawn)
        request = SPOILS[name](drawn, draft).written()
        spoiled += name == "nothing" or request != draft.written()
        if name in READ_ALIKE or request == draft.written():
            package = read(request)
            for reader in READERS.values():
                assert {file for file in reader(request) if file} <= set(data_of(package))
        elif name != "no quotes":  # around names of letters alone they can be left out
            with pytest.raises(Refusal):
                read(request)
    assert spoiled, "no draft could be spoiled so"


HONEST = {
    "curl": form(
        part(PICTURE, more=b"Content-Type: image/png\r\n"), boundary=b"------------------------d74496d66958873e"
    ),
    "a browser": form(
        part(b"", name=b"header", file=b"", more=b"Content-Type: application/octet-stream\r\n"),
        part(PICTURE, more=b"Content-Type: image/png\r\n"),
        part("grüße".encode(), name=b"note", file=None),
        boundary=b"----WebKitFormBoundary7MA4YWxkTrZu0gW",
    ),
    "requests": form(
        b"Content-Disposition: form-data; name=\"file\"; filename*=utf-8''%E7%8C%AB.png\r\n\r\n" + PICTURE,
        boundary=b"0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    ),
    "OkHttp": form(
        b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n'
        b"Content-Length: %d\r\n\r\n" % len(PICTURE) + PICTURE,
        boundary=b"9051914041544843365972754266",
    ),
    "HttpClient of Apache": form(
        part(PICTURE, more=b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n"),
        part(b"x", name=b"i", file=None, more=b"Content-Type: text/plain; charset=ISO-8859-1\r\n"),
        boundary=b"-_aZ09", header=b"multipart/form-data; charset=utf-8; boundary=-_aZ09",
    ),
    "quoted": form(part(PICTURE), boundary=b"=_x:1", header=b'multipart/form-data; boundary="=_x:1"'),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HONEST))
def test_what_real_clients_send_is_read(name: str) -> None:
    for at_once in (0, 1, 3, 50):
        package = read(HONEST[name], at_once)
        assert data_of(package) == [PICTURE]
        assert b"".join(package.pieces) == HONEST[name].body


def test_a_part_is_a_file_unless_every_server_takes_it_for_a_text() -> None:
    request = form(
        part(b"\x89PNG", file=None, more=b"Content-Type: image/png\r\n"),
        part(b"\x89PNG2", file=None),
        part(b"a text", file=None, more=b"Content-Type: application/octet-stream\r\n"),
        part(b"a text", name=b"status", file=None),
        part(b"a\0zero", name=b"status", file=None),
    )
    assert data_of(read(request)) == [b"\x89PNG", b"\x89PNG2", b"a text", b"a\0zero"]


@pytest.mark.parametrize(
    "written", [b"data:image/png;base64,cGlj", b" DATA:;base64,cG\nlj", b"data:x/y;a=b;base64,cGlj=="]
)
def test_a_file_that_is_written_out_is_a_file(written: bytes) -> None:
    assert data_of(read(form(part(written, file=None)))) == [b"pic"]
    document = json.dumps({"a": [1, {"avatar": written.decode()}]}).encode()
    assert data_of(read(Request((b"application/json",), document))) == [b"pic"]
    twice = b'{"avatar": "x", "avatar": %s}' % json.dumps(written.decode()).encode()
    assert data_of(read(Request((b"application/json; charset=utf-8",), twice))) == [b"pic"]
    fields = urlencode({"avatar": written}).encode()
    assert data_of(read(Request((b"application/x-www-form-urlencoded",), fields))) == [b"pic"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"application/json", b'{"avatar": "data:image/png;base64,cGl=j"}'),
        (b"application/json", b'{"avatar": "data:image/png;base64,cGlj!"}'),
        (b"application/json", b'{"avatar": '),
        (b"application/json", b"[" * 100_000),
        (b"application/json; charset=utf-16", b"{}"),
        (b"application/x-www-form-urlencoded", b"x=1;avatar=data%3Aimage/png%3Bbase64,cGlj"),
        (b"application/x-www-form-urlencoded", b"avatar=\xff"),
        (b"multipart/form-data", b""),
        (b"multipart/form-data; boundary=", b"----\r\n"),
        (b"image", b"x"),
    ],
)
def test_what_is_written_out_in_two_ways_is_refused(kind: bytes, body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read(Request((kind,), body))
    assert caught.value.status == 400


def test_a_body_of_another_kind_is_a_file_by_itself() -> None:
    assert data_of(read(Request((b"image/png",), PICTURE))) == [PICTURE]
    assert data_of(read(Request((), PICTURE))) == [PICTURE]
    assert data_of(read(Request((b"application/json",), b'{"note": "data: is a word"}'))) == []
