"""A real S3 server for tests: versitygw, built once through the Go module proxy, on a free loopback port.

Its keys are random, its data live in a temporary directory and it can keep versions and further users. It never
listens beyond loopback. It is not a stand-in: what it refuses, the store has to cope with.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import needs
from support.servers import debian

MODULE = "github.com/versity/versitygw/cmd/versitygw"
VERSION = "v1.8.0"
REGION = "us-east-1"
_BUILD_S = 900
_READY_S = 30
_CACHE = debian.CACHE


def program() -> Path:
    """Return where the server's program is, once it is built."""
    return _CACHE / f"versitygw-{VERSION}" / "versitygw"


def check() -> bool:
    """Whether it is built; raises Unready if it cannot be."""
    if program().exists():
        return True
    if shutil.which("go") is None:
        raise debian.Unready("Go is missing", "install Go 1.24 or later (https://go.dev)")
    return False


def build() -> None:
    """Build it, unless it is there."""
    folder = program().parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # two test runs at once build once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program().exists():
            return
        environment = {**os.environ, "HOME": str(debian.HOME), "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            environment["GOBIN"] = fresh
            command = ["nice", "-n", "19", "go", "install", "-trimpath", f"{MODULE}@{VERSION}"]
            debian.run(command, "go install versitygw", environment, _BUILD_S)
            (Path(fresh) / "versitygw").rename(program())


def free_port() -> int:
    """Return a loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def timed_key(time_s: float, number: int) -> str:
    """Return a key as pict-rs >= 0.5.7 makes them: a UUIDv7 of this time, split into directories."""
    digits = f"{int(time_s * 1000):012x}7{number:019x}"
    return "/".join(digits[i : i + 2] for i in range(0, 20, 2)) + "/" + digits[20:] + ".webp"


@dataclass
class S3Server:
    """A running server. `client` speaks to it directly, beside the store under test."""

    port: int
    access_key: str
    secret_key: str
    root: Path
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        """The server's name and version."""
        return f"versitygw {VERSION}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        environment = {**os.environ, "ROOT_ACCESS_KEY_ID": self.access_key, "ROOT_SECRET_ACCESS_KEY": self.secret_key}
        with (self.root.parent / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the S3 server ended at once: {(self.root.parent / 'log').read_text()[-2000:]}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("the S3 server does not answer")

    def stop(self) -> None:
        """Stop it; its data stay, and starting it again is possible."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process = None

    def client(self) -> Any:
        """Return a botocore client with all rights."""
        if "root" not in self._clients:
            self._clients["root"] = client_of(self.endpoint, self.access_key, self.secret_key)
        return self._clients["root"]

    def make_bucket(self, name: str, *, versions: bool = False, lock: bool = False) -> str:
        """Create a bucket, with versioning or object lock if asked, and return its name."""
        self.client().create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if lock else {}))
        if versions:
            self.set_versioning(name, "Enabled")
        return name

    def set_versioning(self, bucket: str, status: str) -> None:
        """Switch versioning to `Enabled` or `Suspended`."""
        self.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})

    def put(self, bucket: str, key: str, data: bytes = b"data") -> None:
        """Store an object."""
        self.client().put_object(Bucket=bucket, Key=key, Body=data)

    def put_files(self, bucket: str, keys: list[str], data: bytes = b"data") -> None:
        """Place many objects behind the server's back, in its own directory: much faster than thousands of PUTs."""
        for key in keys:
            path = self.root / bucket / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.setxattr(path, "user.etag", b"8d777f385d3dfec8815d20f7496026dc")

    def add_user(self, access_key: str, secret_key: str) -> None:
        """Create a user without any right on any bucket."""
        self._admin("create-user", "--access", access_key, "--secret", secret_key, "--role", "user")

    def allow(self, bucket: str, user: str, *actions: str) -> None:
        """Let `user` do these actions (`s3:GetObject`, ...) in `bucket`, and nothing else."""
        import json

        resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        on_bucket = [a for a in actions if "Bucket" in a]
        on_object = [a for a in actions if "Bucket" not in a]
        statements = [
            {"Effect": "Allow", "Principal": {"AWS": [user]}, "Action": names, "Resource": resource}
            for names, resource in ((on_bucket, resources[0]), (on_object, resources[1]))
            if names
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.client().put_bucket_policy(Bucket=bucket, Policy=policy)

    def _admin(self, *arguments: str) -> None:
        command = [str(program()), "admin", "-a", self.access_key, "-s", self.secret_key, "-er", self.endpoint]
        subprocess.run([*command, *arguments], check=True, capture_output=True, timeout=30)


def client_of(endpoint: str, access_key: str, secret_key: str) -> Any:
    """Return a plain botocore client, as the tests' own pair of eyes."""
    session = importlib.import_module("botocore.session").Session()
    config = importlib.import_module("botocore.config").Config(
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return session.create_client(
        "s3",
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=config,
    )


@contextmanager
def s3_server(kept: Path | None = None) -> Iterator[S3Server]:
    """Start a server, wait until it answers, print its version, and stop it with all its data at the end.

    What lies in `kept`, if that is given, stays there and is served again the next time.
    """
    needs.started("s3")
    build()
    with tempfile.TemporaryDirectory(prefix="s3-") as folder:
        base = Path(folder)
        data = base / "data" if kept is None else kept
        for path in (data, base / "versions", base / "iam"):
            path.mkdir(parents=True, exist_ok=True)
        access_key, secret_key, port = secrets.token_hex(10), secrets.token_hex(20), free_port()
        command = [str(program()), "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet", "--region", REGION]
        command += ["--iam-dir", str(base / "iam"), "posix", "--versioning-dir", str(base / "versions")]
        server = S3Server(port, access_key, secret_key, data, [*command, str(data)])
        try:
            server.start()
            sys.stderr.write(f"S3 server: {server.name} on port {port}\n")
            yield server
        finally:
            server.stop()
            for client in server._clients.values():
                client.close()
