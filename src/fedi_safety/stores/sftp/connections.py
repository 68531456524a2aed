"""The pool of SSH connections under the SFTP store: one event loop in one thread, bounded waits, reconnecting.

A connection that is lost is told apart from an answer that is merely unwelcome: only the first is tried again. Every
connection carries one SFTP session, so that a server with `MaxSessions 1` serves as well. It knows no paths.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncssh
from asyncssh.sftp import SFTPClientHandler

from fedi_safety.core.errors import StoreError, StoreUsageError
from fedi_safety.stores.sftp.sending import HOLDING, Holding, Loop
from fedi_safety.stores.sftp.trust import HostKeys, Login, Place

_T = TypeVar("_T")
# AES-GCM fetched 250 KB objects at 2.2 times the rate of asyncssh's first choice, ChaCha20-Poly1305.
_CIPHERS = (
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr"
)
_SESSION_WINDOW_BYTES = 8 << 20  # what the server may send ahead of us on one connection
_GROW_AGAIN_S = 60.0  # after a server refused one more connection while others serve


@dataclass(frozen=True, slots=True)
class Waits:
    """How long anything may take. Tests shorten it."""

    connect_s: float = 15.0
    request_s: float = 30.0
    keepalive_s: float = 15.0
    keepalive_misses: int = 3
    tries: int = 4  # of one request, each over another connection
    backoff_s: float = 0.25  # doubled with every try
    reconnect_s: float = 60.0  # how long a lost server is tried again before it counts as down


class Lost(Exception):
    """The connection broke, or no answer came in time. What was asked may or may not have been done."""


BROKEN = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)  # among the SFTP errors, those that answer nothing
_LOST = (
    *BROKEN,
    asyncssh.DisconnectError,
    asyncssh.ChannelOpenError,
    asyncio.IncompleteReadError,
    OSError,  # TimeoutError included
)


class Engine:
    """An event loop in a thread of its own, for callers in any other thread."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = Loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sftp", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Start `work` in the loop. Its waits must be bounded."""
        if self._loop.is_closed() or not self._thread.is_alive():
            work.close()
            raise StoreError("sftp", "the store is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run `work` to its end and return what it returns."""
        return self.wait(self.submit(work))

    def wait(self, future: Future[_T]) -> _T:
        """Wait for submitted work, for as long as the loop lives."""
        while True:
            try:
                return future.result(timeout=5.0)
            except TimeoutError:
                if future.done():
                    return future.result()
                if not self._thread.is_alive():
                    raise StoreError("sftp", "the store was closed") from None

    def close(self) -> None:
        """End whatever still runs, and the thread."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop).result(timeout=10.0)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10.0)
        if not self._thread.is_alive():
            self._loop.close()

    async def _wind_up(self) -> None:
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5.0)
        for _ in range(4):  # transports close their sockets in callbacks of their own
            await asyncio.sleep(0)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()  # it resolved the host's name


class _Gathering:
    """Sends the requests of one turn of the event loop as one packet: asyncssh pays for every packet twice."""

    def __init__(self, writer: asyncssh.SSHWriter[bytes]) -> None:
        self._writer = writer
        self._waiting: list[bytes] = []
        held: Holding | None = writer.get_extra_info(HOLDING)
        self._held: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext if held is None else held.held
        self.channel = writer.channel

    def write(self, data: bytes) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(data)

    def _flush(self) -> None:
        data, self._waiting = b"".join(self._waiting), []
        if not self.channel.is_closing():
            # A channel that is just breaking tells every waiting request so itself.
            with contextlib.suppress(OSError), self._held():
                self._writer.write(data)

    def close(self) -> None:
        self._writer.close()


class Link:
    """One connection with its SFTP session."""

    def __init__(self, connection: asyncssh.SSHClientConnection, handler: SFTPClientHandler, waits: Waits) -> None:
        """Take over an open session."""
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._request_s = waits.request_s
        self._asked = 0
        self._heard_s = 0.0
        self._strays: set[asyncio.Task[None]] = set()
        # The handler rather than the client: it sends several requests for one file or directory before the first is
        # answered, and a distant server is slow only once.
        self.handler = handler
        self.busy = 0
        self.lost = False
        self._watch = self._loop.call_later(self._request_s / 4, self._listen)

    async def ask(self, *requests: Awaitable[_T]) -> list[_T]:
        """Send requests together and return their answers in order; the first bad answer is raised, after all came."""
        if not self._asked:
            self._heard_s = self._loop.time()
        self._asked += 1
        try:
            if len(requests) == 1:
                return [await requests[0]]
            answers = await asyncio.gather(*map(self._heard, requests), return_exceptions=True)
        finally:
            self._heard_s = self._loop.time()
            self._asked -= 1
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def _heard(self, request: Awaitable[_T]) -> _T:
        try:
            return await request
        finally:
            self._heard_s = self._loop.time()

    def _listen(self) -> None:
        """Give up a connection on which nothing at all was answered for too long; a slow one is left alone."""
        if self.lost:
            return
        if self._asked and self._loop.time() - self._heard_s > self._request_s:
            self.drop()
            return
        self._watch = self._loop.call_later(self._request_s / 4, self._listen)

    def release(self, handle: bytes) -> None:
        """Close a remote handle without waiting for the answer."""

        async def close() -> None:
            with contextlib.suppress(asyncssh.Error, OSError):
                await self.ask(self.handler.close(handle))

        if not self.lost:
            task = self._loop.create_task(close())
            self._strays.add(task)
            task.add_done_callback(self._strays.discard)

    def drop(self) -> None:
        """Give the connection up; whoever waits for an answer on it learns that it is lost."""
        self.lost = True
        self._watch.cancel()
        self._connection.abort()

    async def end(self) -> None:
        """Close the connection and wait until it is closed."""
        self.lost = True
        self._watch.cancel()
        self._connection.close()
        try:
            async with asyncio.timeout(2.0):
                await self._connection.wait_closed()
        except TimeoutError:
            self._connection.abort()


class _Client(asyncssh.SSHClient):
    """Remembers what asyncssh asks about the host key, so that the refusal can show it."""

    def __init__(self) -> None:
        self.address = ""
        self.refused: asyncssh.SSHKey | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        peer = conn.get_extra_info("peername")
        self.address = peer[0] if peer else ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        self.refused = key
        return False


class Pool:
    """Up to `size` connections to one server. Its coroutines run in the engine's loop."""

    def __init__(self, place: Place, keys: HostKeys, login: Login, size: int, waits: Waits) -> None:
        """Connect nothing yet."""
        self._place = place
        self._keys = keys
        self._login = login
        self._size = size
        self.waits = waits
        self._links: list[Link] = []
        self._opening: asyncio.Task[Link] | None = None
        self._grow_at_s = 0.0
        self._was_up = False
        self._closed = False

    async def attempt(self, work: Callable[[Link], Awaitable[_T]]) -> _T:
        """Do `work` over a connection; when that is lost, again over another one, a few times. Raises `Lost`."""
        for failed in range(1, self.waits.tries + 1):
            try:
                async with self.lend() as link:
                    return await work(link)
            except Lost:
                if failed == self.waits.tries:
                    raise
            await self.pause(failed)
        raise AssertionError

    async def pause(self, failed: int) -> None:
        """Wait before the next try, longer each time."""
        await asyncio.sleep(self.waits.backoff_s * 2 ** (failed - 1) * random.uniform(0.5, 1.0))

    @asynccontextmanager
    async def lend(self, link: Link | None = None) -> AsyncIterator[Link]:
        """Lend a connection (`link` again, or the least busy); one that breaks in use is given up as `Lost`."""
        link = link or await self._link()
        link.busy += 1
        try:
            yield link
        except Lost:
            link.drop()
            raise
        except _LOST as error:
            link.drop()
            raise Lost(_words(error)) from error
        finally:
            link.busy -= 1

    async def _link(self) -> Link:
        if self._closed:
            raise StoreError(self._place.server, "the store is closed")
        self._links = [link for link in self._links if not link.lost]
        if not self._links:
            await asyncio.shield(self._open())
            return await self._link()
        link = min(self._links, key=lambda one: one.busy)
        loop = asyncio.get_running_loop()
        if link.busy and len(self._links) < self._size and self._opening is None and loop.time() >= self._grow_at_s:
            self._open().add_done_callback(self._grown)
        return link

    def _grown(self, task: asyncio.Task[Link]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._grow_at_s = asyncio.get_running_loop().time() + _GROW_AGAIN_S

    def _open(self) -> asyncio.Task[Link]:
        """Return the one task that opens a connection; all who need one wait for the same."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._opened())
        return self._opening

    async def _opened(self) -> Link:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        failed = 0
        try:
            while True:
                try:
                    link = await self._connect()
                    self._links.append(link)
                    self._was_up = True
                    return link
                except StoreUsageError:
                    raise
                except StoreError:
                    failed += 1
                    if any(not link.lost for link in self._links):
                        raise  # one connection more is refused; those that are open go on
                    # The first connection fails at once; a server that was there may be restarting. The others may have
                    # been lost while this one was made, and then whoever needs one waits for this.
                    if not self._was_up or loop.time() >= started_s + self.waits.reconnect_s:
                        self._was_up = False  # whoever asks next learns at once that it is still down
                        raise
                await self.pause(min(failed, 6))
        finally:
            self._opening = None

    async def _connect(self) -> Link:
        place, waits = self._place, self.waits
        client = _Client()
        async with self._login.offer() as offer:
            if not offer.keys:
                raise StoreUsageError(
                    place.server,
                    f"there is no key to log in with: {'; '.join(offer.names)}",
                    "load one with ssh-add, or name one as ssh.identity_file with FEDI_SAFETY_SSH__PASSPHRASE",
                )
            try:
                connection = await asyncssh.connect(
                    place.host,
                    place.port,
                    username=place.user,
                    config=None,
                    known_hosts=self._keys.known,
                    server_host_key_algs=self._keys.algorithms(),
                    client_factory=lambda: client,
                    client_keys=offer.keys,
                    agent_path=None,  # its keys are among the offered ones already
                    preferred_auth="publickey",
                    encryption_algs=_CIPHERS,
                    compression_algs="none",  # media are compressed already
                    connect_timeout=waits.connect_s,
                    login_timeout=waits.connect_s,
                    keepalive_interval=waits.keepalive_s,
                    keepalive_count_max=waits.keepalive_misses,
                )
            except (OSError, asyncssh.Error) as error:
                raise self._explained(error, client, offer.names) from error
        try:
            async with asyncio.timeout(waits.connect_s):
                return Link(connection, await self._session(connection), waits)
        except (OSError, EOFError, asyncssh.Error) as error:
            connection.abort()
            raise StoreError(
                place.server,
                f"logged in as {place.user}, but the server gives no SFTP session ({_words(error)})",
                "it needs `Subsystem sftp internal-sftp` and a free session (MaxSessions) for this user in sshd_config",
            ) from error
        except BaseException:
            connection.abort()
            raise

    async def _session(self, connection: asyncssh.SSHClientConnection) -> SFTPClientHandler:
        writer, reader, _ = await connection.open_session(subsystem="sftp", encoding=None, window=_SESSION_WINDOW_BYTES)
        gathering: Any = _Gathering(writer)
        handler = SFTPClientHandler(asyncio.get_running_loop(), "replace", reader, gathering, 3)
        await handler.start()
        connection.create_task(handler.recv_packets(), handler.logger)
        await handler.request_limits()
        return handler

    def _explained(self, error: Exception, client: _Client, tried: list[str]) -> StoreError:
        server, port = self._place.server, self._place.port
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            return self._keys.refusal(client.address, client.refused, _words(error))
        if isinstance(error, asyncssh.PermissionDenied):
            return StoreUsageError(
                server,
                f"the login as {self._place.user} was refused; tried {'; '.join(tried)}",
                "load the right key with ssh-add or name it as ssh.identity_file, and check the user's authorized_keys",
            ).as_refused()
        if isinstance(error, asyncssh.DisconnectError) and "authentication failures" in str(error):
            return StoreUsageError(
                server, f"too many keys were offered: {'; '.join(tried)}", "name the right one as ssh.identity_file"
            )
        if isinstance(error, socket.gaierror):
            return StoreError(server, "there is no host of this name", "check the URL and the name service")
        if isinstance(error, ConnectionRefusedError):
            return StoreError(server, f"nothing listens on port {port}", "check that sshd runs there, and the port")
        if isinstance(error, TimeoutError):
            return StoreError(server, f"no answer within {self.waits.connect_s:g} s", "check the host and the firewall")
        if isinstance(error, asyncssh.ConnectionLost):
            return StoreError(
                server, f"the server hung up before the login ({_words(error)})", "see the server's log (MaxStartups?)"
            )
        return StoreError(server, f"cannot be reached ({_words(error)})", "check the host and the port")

    async def close(self) -> None:
        """Close every connection, also one that is being made; make no other one."""
        self._closed = True
        if (opening := self._opening) is not None:
            opening.cancel()
            await asyncio.wait([opening])
        links, self._links = self._links, []
        await asyncio.gather(*(link.end() for link in links))


def _words(error: BaseException) -> str:
    """Return an exception's own words, on one line, or its kind."""
    text = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__
