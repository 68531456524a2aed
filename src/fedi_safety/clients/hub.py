"""The wire protocol of a model hub (Hugging Face's and what speaks like it): revisions, file lists, downloads.

It asks, streams and checks what comes against the size and the digest that the hub itself states; it knows nothing of
what the files are for, and sends nothing but the names it asks for. Why not the hub's own library: that checks no
digest, keeps a cache of its own in the home directory and says in every request what else is installed.
"""

from __future__ import annotations

import hashlib
import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from fedi_safety.core.errors import ExitCode, FediSafetyError
from fedi_safety.core.wording.hints import hint

log = logging.getLogger(__name__)

TRIES = 5  # without a byte of progress in between
_PAUSE_S = 1.0  # doubled with every try
_LONGEST_PAUSE_S = 60.0
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_MAX_REDIRECTS = 8
_MAX_PAGES = 100
_CHUNK = 1 << 20
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")

Progress = Callable[[int], None]
"""Is told how many bytes more are there; a negative number takes back what had to be thrown away."""


class HubError(FediSafetyError):
    """The hub cannot be reached, or what it sends cannot be used."""

    exit_code = ExitCode.OUTSIDE


class HubUsageError(HubError):
    """What was asked for does not exist on the hub, or may not be had."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository, as its listing states it."""

    path: str
    size: int
    sha256: str | None  # of files in large file storage
    git_sha1: str | None  # of the others: that of a Git blob


class Hub:
    """Speaks to one hub."""

    def __init__(
        self,
        endpoint: str,
        *,
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
        pause_s: float = _PAUSE_S,
    ) -> None:
        """Take the hub's address and a token for what is not public; nothing is sent yet. Raises `HubUsageError`."""
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise HubUsageError(f"hub {endpoint!r}", "not an http address", "write it as https://host")
        if parts.username is not None or parts.password is not None:
            raise HubUsageError("hub", "its address has a user in it", "give the token as $HF_TOKEN")
        self.endpoint = endpoint.rstrip("/")
        self._pause_s = pause_s
        self._http = httpx.Client(
            timeout=_TIMEOUT,
            verify=ssl.create_default_context(),
            transport=transport,
            headers={"User-Agent": "fedi-safety", "Accept-Encoding": "identity"},
        )
        self._token = {"Authorization": f"Bearer {token}"} if token else {}
        self._origin = _origin(self.endpoint)
        if logging.getLogger("httpx").level == logging.NOTSET:
            logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for every request

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def commit(self, repository: str, revision: str) -> str:
        """Return the commit that a branch, tag or commit names."""
        if not _REPOSITORY.fullmatch(repository):
            raise HubUsageError(f"model {repository!r}", "not the name of a repository", "write it as owner/name")
        url = f"{self.endpoint}/api/models/{repository}/revision/{quote(revision, safe='')}"
        found = self._json(url, f"{repository} at {revision}")
        commit = found.get("sha") if isinstance(found, dict) else None
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise self._stranger(url)
        return commit

    def files(self, repository: str, commit: str) -> list[RemoteFile]:
        """Return every file of a repository at a commit."""
        url: str | None = f"{self.endpoint}/api/models/{repository}/tree/{commit}?recursive=true"
        found: list[RemoteFile] = []
        for _ in range(_MAX_PAGES):
            if url is None:
                return found
            response = self._get(url, f"{repository} at {commit[:12]}")
            entries = _decoded(response)
            if not isinstance(entries, list):
                raise self._stranger(url)
            try:
                found += [_remote_file(e) for e in entries if e["type"] == "file"]
            except (KeyError, TypeError, ValueError) as error:
                raise self._stranger(url) from error
            following = response.links.get("next", {}).get("url")
            url = None if following is None else str(httpx.URL(url).join(following))
        raise self._stranger(f"{self.endpoint}/{repository}")

    def download(self, repository: str, commit: str, file: RemoteFile, to: Path, progress: Progress) -> str:
        """Bring a file to a path, going on where an earlier try stopped, and return its SHA-256.

        What lies at the path afterwards has the size and digest that the hub stated, or `HubError` is raised. Raises
        `OSError` where the disk fails.
        """
        thing = f"{repository}/{file.path}"
        url = f"{self.endpoint}/{repository}/resolve/{commit}/{quote(file.path)}"
        left_behind = to.exists()
        self._bring(url, thing, file.size, to, progress)
        while True:
            sha256, git_sha1 = _digests(to, file.size)
            if file.sha256 in (None, sha256) and file.git_sha1 in (None, git_sha1):
                return sha256
            to.unlink()
            progress(-file.size)
            if not left_behind:
                raise HubError(thing, "what came is not what the hub's listing states (other digest)", _LATER)
            left_behind = False  # what an earlier try had left may be to blame
            self._bring(url, thing, file.size, to, progress)

    # --- the plumbing

    def _bring(self, url: str, thing: str, size: int, to: Path, progress: Progress) -> None:
        """Add to the file at a path until it has its size."""
        pause_s, left = self._pause_s, TRIES
        have = to.stat().st_size if to.exists() else 0
        if have > size:
            to.unlink()
            have = 0
        progress(have)
        furthest = have
        while have < size or not to.exists():
            headers = {"Range": f"bytes={have}-"} if have else {}
            kept = f"{thing}, of which {have:,} of {size:,} bytes are kept" if have else thing
            try:
                with self._stream(url, kept, headers) as response:
                    if have and not _continues(response, have):  # it begins anew
                        progress(-have)
                        have = 0
                    with to.open("ab" if have else "wb") as out:
                        for chunk in response.iter_raw():
                            have += len(chunk)
                            if have > size:
                                raise HubError(thing, f"longer than the {size:,} bytes that the hub states", _LATER)
                            out.write(chunk)
                            progress(len(chunk))
                if have < size:
                    raise httpx.RemoteProtocolError("the connection ended early")
            except httpx.TransportError as error:
                left, pause_s = (TRIES, self._pause_s) if have > furthest else (left - 1, 2 * pause_s)
                furthest = max(furthest, have)
                if not left:
                    raise self._unreachable(error, kept) from error
                log.warning("%s: %s; going on at byte %d", thing, _said(error), have)
                time.sleep(min(pause_s, _LONGEST_PAUSE_S))

    def _json(self, url: str, thing: str) -> Any:
        return _decoded(self._get(url, thing))

    def _get(self, url: str, thing: str) -> httpx.Response:
        with self._stream(url, thing, {}) as response:
            response.read()
            return response

    @contextmanager
    def _stream(self, url: str, thing: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Open an answer of status 200 or 206, after redirects and after trying again what may pass."""
        pause_s = self._pause_s
        for left in reversed(range(TRIES)):
            try:
                response = self._follow(url, headers)
            except httpx.TransportError as error:
                if not left:
                    raise self._unreachable(error, thing) from error
                said = _said(error)
            except httpx.InvalidURL as error:
                raise self._stranger(url) from error
            else:
                try:
                    if response.status_code in (200, 206):
                        yield response
                        return
                    if not left or not (response.status_code == 429 or response.status_code >= 500):
                        raise self._refusal(response, thing)
                    said = f"the hub answered {response.status_code}"
                    pause_s = max(pause_s, _retry_after(response))
                finally:
                    response.close()
            pause_s = min(pause_s, _LONGEST_PAUSE_S)
            log.warning("%s: %s; trying again in %.0f s", thing, said, pause_s)
            time.sleep(pause_s)
            pause_s *= 2

    def _follow(self, url: str, headers: dict[str, str]) -> httpx.Response:
        """Return the last answer of a chain of redirects. The token goes to the hub and nowhere else."""
        for _ in range(1 + _MAX_REDIRECTS):
            token = self._token if _origin(url) == self._origin else {}
            response = self._http.send(self._http.build_request("GET", url, headers={**headers, **token}), stream=True)
            if not response.has_redirect_location:
                return response
            response.close()
            following = str(response.url.join(response.headers["location"]))
            if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
                raise HubError(
                    self.endpoint, "it redirects to an address without encryption", "check the hub's address"
                )
            url = following
        raise HubError(self.endpoint, "too many redirects", "check the hub's address")

    def _refusal(self, response: httpx.Response, thing: str) -> HubError:
        """Say what a status other than success means. The hub names its reasons in a header."""
        status, code = response.status_code, response.headers.get("x-error-code", "")
        thing = f"{thing} on {urlsplit(self.endpoint).netloc}"
        if code == "RevisionNotFound":
            return HubUsageError(thing, "there is no such revision", "check --revision")
        if code == "GatedRepo" or status == 403:
            return HubUsageError(thing, "not for everyone", "accept its terms on the hub, and set $HF_TOKEN")
        if code == "EntryNotFound":
            return HubUsageError(thing, "there is no such file", "check --revision")
        if status in (401, 404) or code == "RepoNotFound":
            return HubUsageError(
                thing, "there is no such model, or it is not public", "check the name; {hint('models list')} shows some"
            )
        if status == 429:
            return HubError(thing, "the hub asks to slow down (429)", _LATER)
        return HubError(thing, f"the hub answered {status}", _LATER if status >= 500 else "check the hub's address")

    def _stranger(self, url: str) -> HubError:
        return HubUsageError(url, "it does not answer like a model hub", "check the hub's address")

    def _unreachable(self, error: httpx.TransportError, thing: str) -> HubError:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return HubError(
                self.endpoint, "its certificate is not trusted", "check the address and this machine's clock"
            )
        return HubError(thing, f"{urlsplit(self.endpoint).netloc}: {_said(error)}", _again())


_LATER = "try again later"


def _again() -> str:
    return f"check the network and run the command again; without one, see {hint('models import DIR')}"


def _remote_file(entry: dict[str, Any]) -> RemoteFile:
    """Read an entry of a listing. Raises `KeyError`, `TypeError` or `ValueError` if it is none."""
    path = entry["path"]
    if not isinstance(path, str) or path.startswith("/") or "\\" in path or {"", ".", ".."} & {*path.split("/")}:
        raise ValueError(path)
    large = entry.get("lfs")
    size = int((large or entry)["size"])
    sha256 = re.fullmatch(r"(?:sha256:)?([0-9a-f]{64})", large["oid"]) if large else None
    if size < 0 or (large and sha256 is None):
        raise ValueError(path)
    return RemoteFile(path, size, sha256[1] if sha256 else None, None if large else str(entry["oid"]))


def _decoded(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _continues(response: httpx.Response, at: int) -> bool:
    """Whether an answer really begins at the byte that was asked for."""
    return response.status_code == 206 and response.headers.get("content-range", "").startswith(f"bytes {at}-")


def _digests(path: Path, size: int) -> tuple[str, str]:
    """Return a file's SHA-256 and the SHA-1 it would have as a Git blob."""
    sha256, blob = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            blob.update(chunk)
    return sha256.hexdigest(), blob.hexdigest()


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdigit() else 0.0


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _said(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    text = str(error)
    return (text.partition("] ")[2] if text.startswith("[Errno") else text) or type(error).__name__
