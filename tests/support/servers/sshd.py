"""A real OpenSSH server on a free loopback port, with keys, users and a directory tree of its own.

As root it serves a user without rights (`nobody`), locked into a directory by ChrootDirectory; otherwise the user who
runs the tests, without a lock. It needs sshd and ssh-keygen (Debian: openssh-server) and says so where they lack.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from support import needs

AS_ROOT = os.geteuid() == 0
_START_S = 15.0
_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
PidFile {home}/sshd.pid
AuthorizedKeysFile {home}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
UseDNS no
MaxStartups 200
LogLevel VERBOSE
Subsystem sftp internal-sftp{start}
ForceCommand internal-sftp{start}
"""


def user() -> str:
    """Return whom the server serves."""
    return "nobody" if AS_ROOT else pwd.getpwuid(os.getuid()).pw_name


class Sshd:
    """One server; `media` is the served directory on this machine's disk, `path` what it is called over SFTP."""

    def __init__(self, base: Path) -> None:
        """Lay out keys and directories under `base`; start nothing."""
        needs.started("sftp")
        self.home = base / "sshd"
        self.home.mkdir(mode=0o755)
        self.keys = base / "keys"
        self.keys.mkdir(mode=0o700)
        jail = base / "jail"
        self.media = jail / "media"
        self.media.mkdir(parents=True)
        for path in (base, jail, self.media):
            path.chmod(0o755)
        if AS_ROOT:
            os.chown(self.media, pwd.getpwnam(user()).pw_uid, -1)
        self.jail = jail
        self.path = "/media" if AS_ROOT else str(self.media)
        self.port = free_port()
        self.extra: list[str] = []
        self.known_hosts = self.home / "known_hosts"
        self._process: subprocess.Popen[bytes] | None = None
        self.new_host_key()
        self.authorized: list[str] = []
        self.identity = self.add_key("id_ed25519", "ed25519")

    @property
    def url(self) -> str:
        return f"sftp://{user()}@127.0.0.1:{self.port}{self.path}"

    def new_host_key(self, kind: str = "ed25519") -> None:
        """Make the server's host key anew; takes effect with the next start."""
        for old in self.home.glob("host_key*"):
            old.unlink()
        _keygen(self.home / "host_key", kind)

    def trust(self) -> None:
        """Write the present host key into known_hosts."""
        kind, key, *_ = (self.home / "host_key.pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def add_key(self, name: str, kind: str, *, passphrase: str = "", authorize: bool = True) -> Path:
        """Make a user key, and let it in."""
        path = self.keys / name
        _keygen(path, kind, passphrase)
        if authorize:
            self.authorized.append(path.with_suffix(".pub").read_text())
            self.write_authorized()
        return path

    def write_authorized(self) -> None:
        path = self.home / "authorized_keys"
        path.write_text("".join(self.authorized))
        path.chmod(0o644)

    def start(self) -> None:
        """Start, and wait until it answers."""
        program = find("sshd")
        if AS_ROOT:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        # Since 9.8 sshd shuts out addresses whose connections end badly, as the tests' do.
        for penalties in (["PerSourcePenalties no"], []):
            config = self._write_config(penalties)
            checked = subprocess.run([program, "-t", "-f", config], capture_output=True, check=False)
            if checked.returncode == 0:
                break
        else:
            raise RuntimeError(f"sshd refuses its configuration: {checked.stderr.decode()}")
        log = (self.home / "log").open("ab")
        with log:
            self._process = subprocess.Popen([program, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stderr=log)
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0) as probe:
                if probe.recv(4) == b"SSH-":
                    return
            time.sleep(0.02)
        raise RuntimeError(f"sshd does not answer: {self.log()[-500:]}")

    def _write_config(self, more: list[str]) -> Path:
        lines = _CONFIG.format(port=self.port, home=self.home, start="" if AS_ROOT else f" -d {self.media}")
        lines += f"HostKey {self.home}/host_key\n"
        if AS_ROOT:
            lines += f"ChrootDirectory {self.jail}\n"
        path = self.home / "sshd_config"
        # The first of several values counts.
        path.write_text("\n".join([*self.extra, *more]) + "\n" + lines)
        return path

    def log(self) -> str:
        path = self.home / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def sessions(self) -> list[psutil.Process]:
        """The processes that serve connections, the listener not among them."""
        if self._process is None:
            return []
        return psutil.Process(self._process.pid).children(recursive=True)

    def cut(self) -> int:
        """Kill every connection, and leave the listener. Returns how many processes that took."""
        killed = 0
        for process in self.sessions():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
                killed += 1
        return killed

    def stop(self) -> None:
        """Stop the listener and every connection."""
        if self._process is None:
            return
        self.cut()
        self._process.terminate()
        self._process.wait(timeout=10)
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()


class Agent:
    """An ssh-agent of the test's own."""

    def __init__(self, base: Path) -> None:
        """Start it with its socket in `base`."""
        # A socket's path may have 107 bytes; pytest's directories are longer.
        self._dir = tempfile.mkdtemp(prefix="agent-")
        self.socket = str(Path(self._dir) / "s")
        self._process = subprocess.Popen(
            [find("ssh-agent"), "-D", "-a", self.socket], stdout=subprocess.DEVNULL, cwd=base
        )
        until = time.monotonic() + _START_S
        while not Path(self.socket).exists():
            if time.monotonic() > until:
                raise RuntimeError("ssh-agent does not start")
            time.sleep(0.01)

    def add(self, key: Path, passphrase: str = "") -> None:
        """Load a key, giving its passphrase as a person would."""
        ask = Path(self._dir) / "ask"
        ask.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
        ask.chmod(0o700)
        env = {**os.environ, "SSH_AUTH_SOCK": self.socket, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        subprocess.run([find("ssh-add"), "-q", key], env={**env, "DISPLAY": ":"}, check=True, stdin=subprocess.DEVNULL)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=10)
        shutil.rmtree(self._dir, ignore_errors=True)


def version() -> str:
    """Return OpenSSH's own words about its version."""
    done = subprocess.run([find("sshd"), "-V"], capture_output=True, text=True, check=False)
    lines = (done.stderr + done.stdout).splitlines()
    return next((line for line in lines if line.startswith("OpenSSH")), "sshd of unknown version")


def find(program: str) -> str:
    """Return a program's path, or fail with what to install."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"{program} is not installed; the tests need it (Debian: apt-get install openssh-server)")
    return found


def new_base() -> Path:
    """Make a directory below which a chroot is allowed: all of its parents belong to root alone."""
    return Path(tempfile.mkdtemp(prefix="fedi-safety-sshd-", dir="/var/lib" if AS_ROOT else None))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


def _keygen(path: Path, kind: str, passphrase: str = "") -> None:
    subprocess.run(
        [find("ssh-keygen"), "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path],
        check=True,
        stdin=subprocess.DEVNULL,
    )
