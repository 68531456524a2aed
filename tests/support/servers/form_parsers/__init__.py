"""Parsers of forms that servers of the fediverse have: of Rack, PHP, Go, werkzeug and Node (two), a process each.

`./dev test --servers form-parsers` installs them. A form is hostile where one of them finds a file that ours does not.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from support import needs
from support.servers import debian, npm, venvs
from support.servers.sshd import free_port

_HERE = Path(__file__).parent
_NODE = {"busboy": "1.6.0", "@fastify/busboy": "3.2.0"}
_PYTHON = {"werkzeug": "3.1.3"}
_VENV = debian.CACHE / f"form-parsers-{'-'.join(_PYTHON.values())}"
_GO = _HERE / "form.go"
_GO_BUILT = debian.CACHE / f"form-parsers-go-{hashlib.sha256(_GO.read_bytes()).hexdigest()[:12]}"
_COMMAND = "./dev test --servers form-parsers"
_READY_S = 60
_LIMITS = ("post_max_size=256M", "upload_max_filesize=256M", "max_file_uploads=1000", "memory_limit=1G")


def check() -> bool:
    """Whether they are installed; raises Unready if they cannot be."""
    there = [
        debian.check(("php",), "php-cli"),
        debian.check(("ruby",), "ruby-rack"),
        debian.check(("go",), "golang-go"),
        npm.check("form-parsers", _NODE),
    ]
    return all(there) and venvs.check(_VENV) and _GO_BUILT.exists()


def build(say: Callable[[str], None]) -> None:
    """Install them."""
    debian.need(("php",), "php-cli", say)
    debian.need(("ruby",), "ruby-rack", say)
    debian.need(("go",), "golang-go", say)
    npm.build("form-parsers", _NODE, say)
    venvs.build(_VENV, [f"{name}=={version}" for name, version in _PYTHON.items()])
    if not _GO_BUILT.exists():
        made = _GO_BUILT.with_suffix(f".{os.getpid()}")
        debian.run([str(debian.path_of("go")), "build", "-o", str(made), str(_GO)], "go build")
        made.rename(_GO_BUILT)


@dataclass(frozen=True, slots=True)
class Read:
    """What a parser makes of a form: the SHA-256 of each file, and whether it refused the whole."""

    files: tuple[str, ...]
    refused: bool = False


class FormParser(Protocol):
    """A running one."""

    def read(self, content_type: bytes, body: bytes) -> Read:
        """Read a form; `content_type` is the header's value."""
        ...


class _Piped:
    """One that is asked by a line of JSON and answers by one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def read(self, content_type: bytes, body: bytes) -> Read:
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"type": base64.b64encode(content_type).decode(), "body": base64.b64encode(body).decode()}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        return Read(tuple(said["files"]), "refused" in said)


class _Php:
    """PHP's, behind its own web server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def read(self, content_type: bytes, body: bytes) -> Read:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.putrequest("POST", "/form.php", skip_accept_encoding=True)
            connection.putheader("Content-Type", content_type)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            return Read((), refused=True)
        return Read(tuple(json.loads(said[said.rindex(b'{"files"') :])["files"]))


@contextmanager
def form_parsers() -> Iterator[dict[str, FormParser]]:
    """Start all of them, and end them: by name."""
    needs.started("form-parsers")
    if not check():
        raise RuntimeError(f"the parsers are not installed: run `{_COMMAND}` once")
    modules = {
        "NODE_PATH": str(npm.place("form-parsers", _NODE) / "node_modules"),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    with ExitStack() as until:
        folder = until.enter_context(tempfile.TemporaryDirectory(prefix="form-parsers-"))

        def piped(*command: str) -> _Piped:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=modules,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            until.callback(_end, process)
            return _Piped(process)

        port = free_port()
        limits = [word for limit in (*_LIMITS, f"upload_tmp_dir={folder}") for word in ("-d", limit)]
        served = ["php", "-n", *limits, "-d", "display_errors=0", "-S", f"127.0.0.1:{port}", "-t", str(_HERE)]
        server = subprocess.Popen(served, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until.callback(_end, server)
        php = _Php(port)
        _wait(php, server)
        node = str(debian.path_of("node"))
        yield {
            "rack": piped("ruby", str(_HERE / "rack.rb")),
            "php": php,
            "busboy": piped(node, str(_HERE / "busboy.cjs"), "busboy"),
            "fastify": piped(node, str(_HERE / "busboy.cjs"), "fastify"),
            "go": piped(str(_GO_BUILT)),
            "werkzeug": piped(str(_VENV / "bin/python"), str(_HERE / "flask_form.py")),
        }


def _wait(php: _Php, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        with suppress(OSError):
            php.read(b"text/plain", b"")
            return
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("PHP's server does not answer")
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.terminate()
    process.wait(30)
