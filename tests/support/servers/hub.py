"""A model hub on loopback: repositories with commits, listings in pages, large files behind a redirect to another host.

It speaks Hugging Face's protocol as far as its own library uses it for downloads; tests/contract/test_hub_server.py
has that library fetch from it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from support.servers.faults import Faults, faults_before

LARGE = 4096  # from so many bytes on, a file is kept in large file storage
_PAGE = 4
_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>revision|tree)/(?P<rev>[^/?]+)")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)")


@dataclass
class Repository:
    """Commits in the order in which they were made, and what may be said to whom."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    token: str | None = None  # who has not got it sees nothing
    gated: bool = False

    def commit(self, files: Mapping[str, bytes]) -> str:
        """Add a commit with these files and return its name."""
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(str(len(self.commits)).encode())
        for path, data in sorted(files.items()):
            digest.update(path.encode() + data)
        self.commits[digest.hexdigest()] = dict(files)
        return digest.hexdigest()

    def find(self, revision: str) -> str | None:
        """Return the commit that a revision names: `main` or a commit."""
        if revision == "main":
            return list(self.commits)[-1]
        return revision if revision in self.commits else None


@dataclass
class HubServer:
    """The running hub. Requests go through proxies that can spoil them.

    `front` stands before the hub, `store` before the host that has the large files.
    """

    front: Faults
    store: Faults
    repositories: dict[str, Repository] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # address and headers of each request

    @property
    def endpoint(self) -> str:
        """The hub's address."""
        return self.front.endpoint

    def add(self, name: str, folder: Path) -> Repository:
        """Publish a folder as a repository with one commit."""
        repository = self.repositories.setdefault(name, Repository())
        repository.commit({p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
        return repository


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        """Answer a request for the hub."""
        self.hub.seen.append((f"hub {self.path}", {k.lower(): v for k, v in self.headers.items()}))
        parts = urlsplit(self.path)
        if match := _API.fullmatch(parts.path):
            self._api(match["repo"], match["what"], unquote(match["rev"]), parse_qs(parts.query))
        elif match := _FILE.fullmatch(parts.path):
            self._resolve(match["repo"], unquote(match["rev"]), unquote(match["path"]))
        else:
            self._answer(404, b"Not Found")

    do_HEAD = do_GET

    def _find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return commit and files, or answer as the hub does where there is nothing to be had."""
        repository = self.hub.repositories.get(name)
        if repository is None or (
            repository.token and self.headers.get("authorization") != f"Bearer {repository.token}"
        ):
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
            return None
        if repository.gated and "authorization" not in self.headers:
            self._refuse(401, "GatedRepo", "Access to this model is restricted.")
            return None
        commit = repository.find(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return commit, repository.commits[commit]

    def _api(self, name: str, what: str, revision: str, query: dict[str, list[str]]) -> None:
        found = self._find(name, revision)
        if found is None:
            return
        commit, files = found
        if what == "revision":
            siblings = [{"rfilename": path} for path in sorted(files)]
            self._json({"id": name, "modelId": name, "sha": commit, "siblings": siblings})
            return
        folders = {"/".join(path.split("/")[:i]) for path in files for i in range(1, len(path.split("/")))}
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in sorted(folders)]
        entries += [_entry(path, data) for path, data in sorted(files.items())]
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + _PAGE < len(entries):
            address = f"http://{self.headers['host']}{urlsplit(self.path).path}"
            headers["Link"] = f'<{address}?recursive=true&cursor={start + _PAGE}>; rel="next"'
        self._json(entries[start : start + _PAGE], headers)

    def _resolve(self, name: str, revision: str, path: str) -> None:
        found = self._find(name, revision)
        if found is None:
            return
        commit, files = found
        if path not in files:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        data = files[path]
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if len(data) < LARGE:
            self._bytes(data, headers | {"ETag": f'"{_git_sha1(data)}"'})
            return
        sha256 = hashlib.sha256(data).hexdigest()
        headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{sha256}"', "ETag": f'"{sha256}"'}
        self._answer(302, b"Found", headers | {"Location": f"{self.hub.store.endpoint}/{sha256}?signed=yes"})

    def _json(self, value: object, headers: Mapping[str, str] = {}) -> None:
        self._answer(200, json.dumps(value).encode(), {**headers, "Content-Type": "application/json; charset=utf-8"})

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        self._answer(status, body, {"X-Error-Code": code, "X-Error-Message": message})

    def _bytes(self, data: bytes, headers: Mapping[str, str]) -> None:
        """Answer with a file, or the rest of it where a range is asked for."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if match is None:
            self._answer(200, data, headers)
            return
        start = int(match[1])
        if start >= len(data):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        extent = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        self._answer(206, data[start:], {**headers, **extent})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] = {}) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Store(_Handler):
    def do_GET(self) -> None:
        """Answer with a large file by its digest."""
        self.hub.seen.append((f"store {self.path}", {k.lower(): v for k, v in self.headers.items()}))
        wanted = urlsplit(self.path).path.strip("/")
        for repository in self.hub.repositories.values():
            for files in repository.commits.values():
                for data in files.values():
                    if hashlib.sha256(data).hexdigest() == wanted:
                        self._bytes(data, {"ETag": f'"{wanted}"', "Accept-Ranges": "bytes"})
                        return
        self._answer(404, b"")

    do_HEAD = do_GET


def _entry(path: str, data: bytes) -> dict[str, object]:
    if len(data) < LARGE:
        return {"type": "file", "oid": _git_sha1(data), "size": len(data), "path": path}
    large = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return {"type": "file", "oid": "1" * 40, "size": len(data), "lfs": large, "path": path}


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """Run a hub without repositories."""
    with ExitStack() as stack:
        handlers = [type("Handler", (base,), {}) for base in (_Handler, _Store)]
        front, store = (stack.enter_context(_serve(handler)) for handler in handlers)
        hub = HubServer(front, store)
        for handler in handlers:
            handler.hub = hub  # type: ignore[attr-defined]
        yield hub


@contextmanager
def _serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[Faults]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        with faults_before(server.server_address[1]) as faults:
            yield faults
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
