"""The gate's upload proxy before a server, in processes of their own, and the requests that are sent through it.

Two servers can stand behind: a small one in Python, and nginx with two workers, which answers at once whatever its
other connections bring.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bench.gate import _free_port, running_gate
from bench.measure import environment

from support.servers import debian

ANSWER = b"x" * 1024
_BOUNDARY = b"----f00dfacef00dface"
_NGINX = """\
daemon off; worker_processes 2; {user} pid {place}/pid; error_log {place}/error.log;
events {{ worker_connections 2048; }}
http {{
    access_log off; keepalive_timeout 300s; keepalive_requests 1000000; client_max_body_size 0;
    {paths}
    server {{
        listen 127.0.0.1:{port} reuseport backlog=512; default_type text/plain;
        location / {{ return 200 "{answer}"; }}
    }}
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


# --- the server behind ----------------------------------------------------------------------------------------------
async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request alike, when all of it is there."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(ANSWER))
            writer.write(ANSWER)
            await writer.drain()
    writer.close()


async def _upstream(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port, limit=1 << 20, backlog=512)
    await server.serve_forever()


def _python(_scratch: Path, port: int) -> list[str]:
    return [sys.executable, __file__, str(port)]


def _nginx(scratch: Path, port: int) -> list[str]:
    program = debian.path_of("nginx")
    if program is None:
        raise SystemExit("nginx is missing; install what Debian calls nginx-light")
    place = scratch / "nginx"
    place.mkdir()
    paths = " ".join(f"{name}_temp_path {place}/{name};" for name in _TEMPORARY)
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not write to the place
    text = _NGINX.format(place=place, port=port, paths=paths, user=user, answer=ANSWER.decode())
    (place / "nginx.conf").write_text(text)
    return [program, "-p", str(place), "-c", f"{place}/nginx.conf", "-e", f"{place}/error.log"]


@contextlib.contextmanager
def _upstreams(scratch: Path, command: Callable[[Path, int], list[str]]) -> Iterator[tuple[int, int]]:
    port = _free_port()
    with subprocess.Popen(command(scratch, port), env=environment(), start_new_session=True) as process:
        try:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                with contextlib.suppress(OSError), contextlib.closing(_connection(port)):
                    break
                time.sleep(0.05)
            yield port, process.pid
        finally:
            process.terminate()


def _connection(port: int) -> Any:
    import socket

    return socket.create_connection(("127.0.0.1", port))


@dataclass(frozen=True, slots=True)
class Proxied:
    """What runs: the ports of the server, of the gate, and of the gate before the server; the server's process."""

    server: int
    gate: int
    proxy: int
    server_pid: int


@contextlib.contextmanager
def proxied(scratch: Path, *, nginx: bool = False) -> Iterator[Proxied]:
    """Run a gate with a server behind it."""
    with _upstreams(scratch, _nginx if nginx else _python) as (server, pid):
        port = _free_port()
        config = scratch / "proxy.toml"
        table = f'[gate.upstream.bench]\nurl = "http://127.0.0.1:{server}"\nkind = "mastodon"\nport = {port}\n'
        config.write_text(table, "utf-8")
        with running_gate(scratch, "--config", str(config), watch=False, own_session=True) as (gate, _ledger, _memory):
            gc.freeze()
            try:
                yield Proxied(server, gate, port, pid)
            finally:
                gc.unfreeze()


# --- requests -------------------------------------------------------------------------------------------------------
def get(path: bytes = b"/api/v1/timelines/home") -> bytes:
    """Return a request without a body."""
    return b"GET " + path + b" HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer x\r\nAccept: */*\r\n\r\n"


def post(path: bytes, kind: bytes, body: bytes) -> bytes:
    """Return a request with a body."""
    head = b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (path, kind, len(body)) + body


def form(data: bytes) -> bytes:
    """Return an upload as Mastodon takes it."""
    head = b'--%s\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = head % _BOUNDARY + data + b"\r\n--%s--\r\n" % _BOUNDARY
    return post(b"/api/v2/media", b"multipart/form-data; boundary=" + _BOUNDARY, body)


def picture(size: int) -> bytes:
    """Return a JPEG of about so many bytes: noise over a gradient, drawn the same each time."""
    import numpy as np
    from PIL import Image

    drawn = np.random.default_rng(18)
    base = np.linspace(40, 200, 1200)[None, :, None] + np.zeros((900, 1, 3))
    pixels = np.clip(base + drawn.normal(0, 12, (900, 1200, 3)), 0, 255).astype(np.uint8)
    best = b""
    for quality in range(20, 96, 3):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=quality)
        if len(out.getvalue()) > size:
            break
        best = out.getvalue()
    return best


if __name__ == "__main__":
    gc.freeze()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_upstream(int(sys.argv[1])))
