"""Fetching by an address: only listed hosts, only public addresses, also after redirects and when names change."""

from __future__ import annotations

import asyncio
import http.server
import socket
import threading
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest

from fedi_safety.core.errors import ConfigError
from fedi_safety.gate.fetching import _SPECIAL, Fetcher, FetchError, Hosts, is_public, public_addresses
from support.servers.web import Answer, web


def redirect(to: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()

    return answer


def get(fetcher: Fetcher, url: str) -> bytes:
    return asyncio.run(fetcher.get(url))


def refused(fetcher: Fetcher, url: str, *words: str, forbidden: bool = True) -> None:
    with pytest.raises(FetchError) as caught:
        get(fetcher, url)
    assert caught.value.forbidden is forbidden, caught.value
    for word in words:
        assert word in caught.value.message


def fetcher(*hosts: str, **named: Any) -> Fetcher:
    return Fetcher(Hosts("hosts", hosts), named.pop("max_bytes", 1 << 20), named.pop("seconds", 5.0))


def test_what_is_listed_is_fetched() -> None:
    with web({"/a%20b.png?x=1%2F2": b"picture", "/r": redirect("/a%20b.png?x=1%2F2")}) as (port, asked):
        ours = fetcher(f"127.0.0.1:{port}")
        assert get(ours, f"http://127.0.0.1:{port}/a%20b.png?x=1%2F2#part") == b"picture"
        assert get(ours, f"HTTP://127.0.0.1:{port}/a b.png?x=1%2F2") == b"picture"
        assert get(ours, f"http://127.0.0.1:{port}/r") == b"picture"
        assert asked[0] == f"127.0.0.1:{port} /a%20b.png?x=1%2F2"


def test_what_is_not_listed_is_not_asked_for() -> None:
    with web({"/": b"secret"}) as (port, asked):
        ours = fetcher("example.org", "example.net:8443", f"127.0.0.1:{port}")
        for url in (
            f"http://localhost:{port}/",
            f"http://127.0.0.2:{port}/",
            f"http://[::1]:{port}/",
            f"http://2130706433:{port}/",
            f"http://127.1:{port}/",
            f"http://0x7f.1:{port}/",
            f"http://127.0.0.1.:{port + 1}/",
            "http://127.0.0.1/",
            f"http://example.org@127.0.0.1:{port}/",
            f"http://user:pass@127.0.0.1:{port}/",
            f"http://127.0.0.1:{port}@example.com/",
            "http://example.org:8080/",
            "http://example.net/",
            "http://sub.example.org/",
            "http://example.org.evil.example/",
            "file:///etc/passwd",
            "gopher://example.org/",
            "//example.org/",
            "example.org",
            "http://",
            "http://exa mple.org/",
            "http://[::1",
            "",
        ):
            refused(ours, url)
        assert asked == []


def test_a_redirect_is_checked_like_the_first_address() -> None:
    with web({"/secret": b"secret"}) as (inner, asked_inner):
        places = {
            "/inner": redirect(f"http://127.0.0.1:{inner}/secret"),
            "/file": redirect("file:///etc/passwd"),
            "/round": redirect("/round"),
        }
        with web(dict(places)) as (port, asked):
            ours = fetcher(f"127.0.0.1:{port}")
            refused(ours, f"http://127.0.0.1:{port}/inner", "not listed")
            refused(ours, f"http://127.0.0.1:{port}/file")
            refused(ours, f"http://127.0.0.1:{port}/round", "too many redirects", forbidden=False)
            assert len(asked) == 1 + 1 + 4 and asked_inner == []


def test_a_name_with_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name itself is listed; who answers for it turns it against the inside."""
    answers: dict[str, list[str]] = {}

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in answers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with web({"/": b"secret"}) as (port, asked):
        ours = fetcher(f"media.example:{port}")
        for addresses in (
            ["127.0.0.1"],
            ["93.184.216.34", "127.0.0.1"],
            ["10.0.0.1"],
            ["169.254.169.254"],
            ["0.0.0.0"],
        ):
            answers["media.example"] = addresses
            refused(ours, f"http://media.example:{port}/", "not public")
        assert asked == []


def test_the_checked_address_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second answer would be private, but nobody asks a second time."""
    import httpcore

    asked: list[str] = []
    connected: list[str] = []

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    class Network(httpcore.AnyIOBackend):
        async def connect_tcp(self, host: str, *_: Any, **__: Any) -> Any:
            connected.append(host)
            raise httpcore.ConnectError("no way out of a test")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(httpcore, "AnyIOBackend", Network)
    refused(fetcher("media.example"), "http://media.example/x.png", "cannot be reached", forbidden=False)
    assert asked == ["media.example"] and connected == ["93.184.216.34"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::", "not an address",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("network", _SPECIAL, ids=str)
def test_no_special_range_is_public_at_either_end(network: IPv4Network | IPv6Network) -> None:
    assert not is_public(str(network[0])) and not is_public(str(network[-1]))
    if network.version == 4:
        assert not is_public(f"::ffff:{network[-1]}")


def test_addresses_that_are_public() -> None:
    assert all(is_public(a) for a in ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"))


def test_a_name_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(FetchError, match="cannot be found"):
        asyncio.run(public_addresses("no.such.example", 80))


def test_bounds_of_size_time_and_status() -> None:
    release = threading.Event()

    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not release.wait(0.05):
            handler.wfile.write(b"x")

    def packed(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"xx")

    with web({"/big": b"x" * 5000, "/drip": drip, "/packed": packed}) as (port, _):
        here = f"http://127.0.0.1:{port}"
        ours = fetcher(f"127.0.0.1:{port}", max_bytes=4096, seconds=0.5)
        refused(ours, f"{here}/big", "4096", forbidden=False)
        refused(ours, f"{here}/drip", "too long", forbidden=False)
        refused(ours, f"{here}/none", "404", forbidden=False)
        refused(ours, f"{here}/packed", "packed", forbidden=False)
        release.set()
    refused(ours, f"{here}/big", "cannot be reached", forbidden=False)


def test_a_server_that_speaks_nonsense() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"SSH-2.0-OpenSSH\r\n")

        threading.Thread(target=answer, daemon=True).start()
        refused(fetcher(f"127.0.0.1:{port}"), f"http://127.0.0.1:{port}/", "makes no sense", forbidden=False)


@pytest.mark.parametrize("host", ["", "https://x.org", "x.org/path", "user@x.org", "x.org:port", "x.org?q"])
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(ConfigError, match="no host"):
        Hosts("gate.pdq_hosts", [host])
