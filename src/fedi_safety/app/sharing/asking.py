"""A publisher asked over HTTP: its answers as files that are read once, however they are packed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from fedi_safety.core.errors import SharingError
from fedi_safety.sharing.signed import MAX_HEAD

if TYPE_CHECKING:
    from fedi_safety.clients.list_server import ListServer

_ROOT = "/sharing/v1/"
_PAGE_BYTES = 16 << 20
_SNAPSHOT_BYTES = 1 << 30


class Asked:
    """The `Publication` at an address. What comes is kept in `folder` while it is read."""

    def __init__(self, server: ListServer, url: str, token: str, folder: Path) -> None:
        """Ask nothing yet."""
        self._server = server
        self._url = url.rstrip("/")
        self._secret = {"Authorization": f"Bearer {token}"}
        self._folder = folder

    def head(self) -> bytes:
        """Return the head. Raises `KnownError`."""
        with self._got("head", "head", {}, 2 * MAX_HEAD) as file:
            return file.read(MAX_HEAD + 1)

    def changes(self, after: int) -> IO[bytes]:
        """Return a page of changes. Raises `KnownError`."""
        return self._got("changes", "changes", {"after": str(after)}, _PAGE_BYTES)

    def snapshot(self) -> IO[bytes]:
        """Return the snapshot. Raises `KnownError`."""
        return self._got("snapshot", "snapshot", {}, _SNAPSHOT_BYTES)

    def _got(self, what: str, name: str, params: dict[str, str], most_bytes: int) -> IO[bytes]:
        answer = self._server.ask(
            f"{self._url}{_ROOT}{what}", self._folder / name, params=params, secret=self._secret, most_bytes=most_bytes
        )
        if not answer.changed:
            raise SharingError(
                self._server.name, "it says that nothing changed, which was not asked", "ask the publisher"
            )
        packed = answer.headers.get("content-encoding", "").lower() in ("gzip", "x-gzip")
        return cast("IO[bytes]", _Unpacked(answer.file) if packed else answer.file.open("rb"))


class _Unpacked(gzip.GzipFile):
    """A packed answer, whose damage is said in the words of sharing."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, "rb")

    def read(self, size: int | None = -1) -> bytes:
        return self._explained(lambda: super(_Unpacked, self).read(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._explained(lambda: super(_Unpacked, self).readline(-1 if size is None else size))

    def _explained(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (EOFError, OSError, zlib.error) as error:
            raise SharingError("the publisher", "its answer is damaged, or was cut off", "try again later") from error
