"""Whom an SSH connection trusts, and as whom it logs in: known_hosts, key files, the agent.

Every refusal is one line with the command that mends it. It never asks a question, never writes known_hosts, and
never shows a passphrase. It does not read ~/.ssh/config.
"""

from __future__ import annotations

import asyncio
import base64
import getpass
import hashlib
import os
import posixpath
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_from_bytes, unquote, unquote_to_bytes, urlsplit

import asyncssh
from asyncssh.public_key import get_default_certificate_algs, get_default_public_key_algs

from fedi_safety.config.locations import expanded
from fedi_safety.config.schema import Ssh
from fedi_safety.core.errors import StoreUsageError

DEFAULT_PORT = 22
_AGENT_WAIT_S = 5.0
_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk", "id_ed448")


@dataclass(frozen=True, slots=True)
class Place:
    """Which directory of which server, as the operator wrote it."""

    host: str
    port: int
    user: str
    path: bytes  # b"." and what follows it is relative to the user's home directory

    @property
    def server(self) -> str:
        """The URL of the server without a path, as error messages name it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORT else f":{self.port}"
        return f"sftp://{quote(self.user, safe='')}@{host}{port}"

    @property
    def url(self) -> str:
        """The URL of the directory as far as it can be told without asking the server."""
        return self.server + quote_from_bytes(posixpath.normpath(self.path))


def read_url(url: str) -> Place:
    """Take an `sftp://user@host:port/path` URL apart. Raises `StoreUsageError`; never repeats a password."""
    shape = "write sftp://user@host:port/path"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise StoreUsageError("sftp store", "the URL cannot be understood", shape) from error
    user, _, address = parts.netloc.rpartition("@")
    if ":" in user:
        raise StoreUsageError(
            f"sftp://{user.partition(':')[0]}@{address}",
            "a password in the URL is refused, because URLs end up in logs and ledgers",
            "take it out and log in with a key: load it into ssh-agent, or name it as ssh.identity_file",
        )
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise StoreUsageError(url, "the port is not a number from 1 to 65535", shape) from error
    if not host:
        raise StoreUsageError(url, "the URL names no host", shape)
    if port == 0:
        raise StoreUsageError(url, "the port is not a number from 1 to 65535", shape)
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise StoreUsageError(url, "an sftp:// URL has no query", "write ? as %3F and # as %23 in the path")
    path = unquote_to_bytes(parts.path)
    if not path:
        raise StoreUsageError(url, "the URL names no directory", shape)
    if b"\0" in path:
        raise StoreUsageError(url, "a path cannot hold a NUL character", "correct the path")
    if path == b"/~" or path.startswith(b"/~/"):
        path = b"." + path[2:]
    return Place(host, port or DEFAULT_PORT, unquote(user) or getpass.getuser(), path)


def fingerprint(public_data: bytes) -> str:
    """Return a public key's SHA-256 fingerprint as ssh-keygen prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public_data).digest()).decode().rstrip("=")


class HostKeys:
    """The known_hosts files. `refusal` explains a key that they do not vouch for."""

    def __init__(self, place: Place, access: Ssh) -> None:
        """Read the files. Raises `StoreUsageError` when one cannot be read; a missing default one knows no host."""
        self._place = place
        self._file = expanded(access.known_hosts or "~/.ssh/known_hosts")
        self.known = asyncssh.SSHKnownHosts()
        self._revoked = asyncssh.SSHKnownHosts()
        for path in [self._file] if access.known_hosts else [self._file, _SYSTEM_KNOWN_HOSTS]:
            try:
                text = path.read_text(encoding="utf-8", errors="surrogateescape")
                self.known.load(text)
                # Apart, because asyncssh forgets them where the port is not 22 and nothing else is known of the host.
                self._revoked.load("\n".join(re.findall(r"^\s*@revoked\s+(.*)$", text, re.MULTILINE)))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreUsageError(
                    str(path), f"known_hosts cannot be read: {error.strerror}", "check ssh.known_hosts"
                ) from error
            except ValueError as error:
                raise StoreUsageError(str(path), f"known_hosts: {error}", "correct or delete that line") from error

    def expected(self, address: str) -> list[asyncssh.SSHKey]:
        """Return the keys known for this very host and port."""
        port = None if self._place.port == DEFAULT_PORT else self._place.port
        return list(self.known.match(self._place.host, address, port)[0])

    def algorithms(self) -> list[str]:
        """Return the host key algorithms to ask for: those of known keys first, and all others, so that they show."""
        port = None if self._place.port == DEFAULT_PORT else self._place.port
        keys, authorities, *_ = self.known.match(self._place.host, "", port)
        wanted = get_default_certificate_algs() if authorities else []
        wanted = [*wanted, *(name for key in keys for name in key.sig_algorithms), *get_default_public_key_algs()]
        return list(dict.fromkeys(name.decode("ascii") for name in wanted))

    def refusal(self, address: str, key: asyncssh.SSHKey | None, words: str) -> StoreUsageError:
        """Say why `key` is refused, and what mends it; where asyncssh names no key, its `words` stand instead."""
        place = self._place
        if key is None:  # a revoked key, or a certificate that no known authority has signed
            return StoreUsageError(
                place.server, f"the host key is refused ({words})", f"do not connect before {self._file} is put right"
            )
        presented = _name(key)
        fetch = f"ssh-keyscan -p {place.port} {place.host} >> {shlex.quote(str(self._file))}"
        port = None if place.port == DEFAULT_PORT else place.port
        if key in self._revoked.match(place.host, address, port)[0]:
            return StoreUsageError(
                place.server, f"the host key is revoked in {self._file}: {presented}", "do not connect with it"
            )
        known = self.expected(address)
        if not known:
            if not self._file.parent.is_dir():
                fetch = f"mkdir -p -m 700 {shlex.quote(str(self._file.parent))} && {fetch}"
            return StoreUsageError(
                place.server,
                f"the host key is not known: {presented}",
                f"compare it with what `ssh-keygen -lf` shows for /etc/ssh/ssh_host_*_key.pub on the server, then run: "
                f"{fetch}",
            )
        name = place.host if place.port == DEFAULT_PORT else f"[{place.host}]:{place.port}"
        expected = " or ".join(dict.fromkeys(_name(k) for k in known))  # it is known by name and by address
        return StoreUsageError(
            place.server,
            f"THE HOST KEY HAS CHANGED: expected {expected}, got {presented}; someone may be standing between, who "
            "could read and replace every file",
            "only if the server's administrator confirms the new key, run: "
            f"ssh-keygen -R {shlex.quote(name)} -f {shlex.quote(str(self._file))} && {fetch}",
        )


def _name(key: asyncssh.SSHKey | asyncssh.SSHKeyPair) -> str:
    return f"{key.algorithm.decode('ascii', 'replace')} {fingerprint(key.public_data)}"


def _file(key: asyncssh.SSHKey) -> str:
    return os.fsdecode(key.get_filename() or "")


@dataclass
class Login:
    """What may be offered to the server: keys from files, and whether the agent is asked."""

    keys: list[asyncssh.SSHKey]
    agent: str | None  # the agent's socket
    agent_only: list[asyncssh.SSHKey] = field(default_factory=list)  # not empty: of the agent's keys, only these
    notes: list[str] = field(default_factory=list)  # keys left out, and why

    @asynccontextmanager
    async def offer(self) -> AsyncIterator[Offer]:
        """Ask the agent for its keys, and keep the line to it open for as long as the login lasts."""
        offer = Offer([*self.keys], [f"{_name(k)} ({_file(k)})" for k in self.keys])
        only = {key.public_data for key in self.agent_only}
        async with AsyncExitStack() as stack:
            if self.agent:
                try:
                    async with asyncio.timeout(_AGENT_WAIT_S):
                        agent = await stack.enter_async_context(await asyncssh.connect_agent(self.agent))
                        held = [k for k in await agent.get_keys() if not only or k.public_data in only]
                    offer.keys[:0] = held
                    offer.names += [f"{_name(k)} (agent)" for k in held] or ["no fitting key in the agent"]
                except (OSError, ValueError, TimeoutError, asyncssh.Error):
                    offer.names.append("no answer from the agent at SSH_AUTH_SOCK")
            offer.names += self.notes
            yield offer


@dataclass
class Offer:
    """The keys of one login, and their names for the message that they were refused."""

    keys: list[asyncssh.SSHKey | asyncssh.SSHKeyPair]
    names: list[str]


def read_login(place: Place, access: Ssh) -> Login:
    """Load the configured key, or else what ~/.ssh holds, and find the agent. Raises `StoreUsageError`."""
    agent = os.environ.get("SSH_AUTH_SOCK") or None
    passphrase = access.passphrase.get_secret_value() if access.passphrase else None
    if access.identity_file:
        return _configured(expanded(access.identity_file), passphrase, agent)
    login = Login([], agent)
    for name in _DEFAULT_KEYS:
        path = expanded(f"~/.ssh/{name}")
        try:
            login.keys.append(asyncssh.read_private_key(path, passphrase))
        except OSError:
            continue
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            login.notes.append(f"{path} was left out: {_why(error, passphrase)}")
    if not login.keys and agent is None:
        how = "load a key with ssh-add, or name one as ssh.identity_file"
        if login.notes:
            how = "load it with ssh-add, or set FEDI_SAFETY_SSH__PASSPHRASE"
        raise StoreUsageError(place.server, "; ".join(["there is no key to log in with", *login.notes]), how)
    return login


def _configured(path: Path, passphrase: str | None, agent: str | None) -> Login:
    try:
        return Login([asyncssh.read_private_key(path, passphrase)], None)
    except OSError as error:
        raise StoreUsageError(
            str(path), f"the key cannot be read: {error.strerror}", "check ssh.identity_file"
        ) from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        why = _why(error, passphrase)
        if agent is None or passphrase is not None or not _is_locked(error):
            raise StoreUsageError(
                str(path), why, f"load it with `ssh-add {shlex.quote(str(path))}`, or set FEDI_SAFETY_SSH__PASSPHRASE"
            ) from error
        return Login([], agent, _public_half(path), [f"{path} was left out: {why}"])


def _public_half(path: Path) -> list[asyncssh.SSHKey]:
    try:
        return [asyncssh.read_public_key(f"{path}.pub")]
    except (OSError, asyncssh.KeyImportError):
        return []


def _is_locked(error: Exception) -> bool:
    return str(error).startswith("Passphrase")


def _why(error: Exception, passphrase: str | None) -> str:
    if _is_locked(error):
        return "the key is encrypted and no passphrase is configured"
    if isinstance(error, asyncssh.KeyEncryptionError) and passphrase is not None:
        return f"the passphrase does not open the key ({error})"
    return f"the key cannot be used ({error})"
