"""`watch` from outside over a real S3 server, a real sshd and a real pict-rs in one process; wrong credentials."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.corpus.photos import jpeg_bytes
from support.needs import needs
from support.program import FACES, FIRST, check_one_line_error, command, program
from support.servers import sshd
from support.servers.pictrs import PictrsServer, pictrs_server
from support.servers.s3 import S3Server, s3_server
from support.servers.sshd import Sshd

RIGHTS = ("s3:ListBucket", "s3:GetObject", "s3:DeleteObject")
NAMES = ("bucket", "tree", "pictures")


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@dataclass
class World:
    """The three servers, and the configuration that names them."""

    s3: S3Server
    ssh: Sshd
    pictrs: PictrsServer
    folder: Path
    user: tuple[str, str] = ("watcher", "the-watcher-s-own-secret")
    aliases: dict[str, str] = field(default_factory=dict)

    def config(self, more: str = "") -> str:
        """Write a configuration with all three stores, as an administrator would."""
        (self.folder / "faces.toml").write_text(FACES)
        text = f"""
policy = "{self.folder}/faces.toml"
{more}
[[stores]]
name = "bucket"
url = "s3://media?endpoint={self.s3.endpoint}"
[stores.s3]
access_key_id = "{self.user[0]}"
secret_access_key = "{self.user[1]}"

[[stores]]
name = "tree"
url = "{self.ssh.url}"
[stores.ssh]
known_hosts = "{self.ssh.known_hosts}"
identity_file = "{self.ssh.identity}"

[[stores]]
name = "pictures"
url = "{self.pictrs.store_url}"
[stores.pictrs]
api_key = "the-key"
"""
        path = self.folder / "config.toml"
        path.write_text(text)
        return str(path)

    # --- what may be done there

    def grant(self) -> None:
        """Let the daemon into all three."""
        self.s3.allow("media", self.user[0], *RIGHTS)
        self.ssh.write_authorized()
        self.use_key("the-key")

    def revoke(self) -> None:
        """Take the rights away again, while it may be connected."""
        self.s3.client().delete_bucket_policy(Bucket="media")
        (self.ssh.home / "authorized_keys").write_text("")
        self.ssh.cut()
        self.use_key("another-key")

    def use_key(self, key: str) -> None:
        self.pictrs.stop()
        self.pictrs.api_key = key
        self.pictrs.environment = {**self.pictrs.environment, "PICTRS__SERVER__API_KEY": key}
        self.pictrs.start()

    # --- what is there

    def upload(self, name: str, photo: str) -> None:
        """Put a picture into each store."""
        data = jpeg_bytes(photo)
        self.s3.put("media", f"{name}.jpeg", data)
        path = self.ssh.media / f"{name}.jpeg"
        path.write_bytes(data)
        if sshd.AS_ROOT:
            os.chown(path, self.ssh.media.stat().st_uid, -1)
        self.aliases[name] = self.pictrs.upload(data)

    def there(self, name: str) -> dict[str, bool]:
        """Return in which stores a picture is."""
        keys = [entry["Key"] for entry in self.s3.client().list_objects_v2(Bucket="media").get("Contents", [])]
        return {
            "bucket": f"{name}.jpeg" in keys,
            "tree": (self.ssh.media / f"{name}.jpeg").exists(),
            "pictures": self.pictrs.status(self.aliases[name]) == 200,
        }


@pytest.fixture
@needs("s3", "sftp", "pictrs")
def world(tmp_path: Path) -> Iterator[World]:
    base = sshd.new_base()
    ssh = Sshd(base)
    ssh.trust()
    ssh.start()
    try:
        with s3_server() as s3, pictrs_server() as pictrs:
            made = World(s3, ssh, pictrs, tmp_path)
            s3.make_bucket("media")
            s3.add_user(*made.user)
            yield made
    finally:
        ssh.stop()
        shutil.rmtree(base)


class Watching:
    """The daemon as a process, with a health file and systemd's end of the notification socket."""

    def __init__(self, world: World, config: str) -> None:
        self.file = world.folder / "health.json"
        self.heard: list[str] = []
        path = world.folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._listen, daemon=True).start()
        arguments = command("watch", "--every", "1s", "--health-file", str(self.file), *FIRST, "--config", config)
        env = {**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1500000"}
        self.process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def _listen(self) -> None:
        while True:
            try:
                self.heard.append(self._socket.recv(65536).decode())
            except OSError:
                return

    @property
    def health(self) -> dict[str, Any]:
        if not self.file.exists():
            return {"state": "not yet", "stores": []}
        return dict(json.loads(self.file.read_text()))

    def stores(self) -> dict[str, dict[str, Any]]:
        return {store["store"]: store for store in self.health["stores"]}

    def rest(self, name: str) -> float:
        """Return for how long a failing store is left alone."""
        store = self.stores()[name]
        return float((store["retry_at"] or 0) - store["last_start"])

    def states(self) -> set[str]:
        return {store["state"] for store in self.health["stores"]}

    def stop(self) -> str:
        """Send SIGTERM and return what it said; it must end in order, between two cycles or in the midst of one."""
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=60)
        assert self.process.returncode in (0, 130), err
        assert "Traceback" not in err
        return err

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._socket.close()


@contextmanager
def watching(world: World, config: str) -> Iterator[Watching]:
    daemon = Watching(world, config)
    try:
        yield daemon
    finally:
        daemon.end()


def test_new_objects_are_judged_in_every_store_and_a_stop_is_in_order(world: World) -> None:
    world.grant()
    world.upload("before", "astronaut")
    with watching(world, world.config()) as daemon:
        wait_for(lambda: not any(world.there("before").values()))
        wait_for(lambda: daemon.health["state"] == "ok")
        world.upload("good", "coffee")
        world.upload("bad", "astronaut")
        wait_for(lambda: not any(world.there("bad").values()))
        wait_for(lambda: all(s["counts"]["judged"] + s["counts"]["acted"] >= 4 for s in daemon.stores().values()))
        time.sleep(2)  # further cycles change nothing
        assert all(world.there("good").values())
        assert set(daemon.stores()) == set(NAMES)
        for store in daemon.stores().values():
            assert (store["state"], store["error"], store["counts"]["acted"], store["counts"]["failed"]) == (
                "ok",
                None,
                2,
                0,
            )
            assert time.time() - store["high_water"] < 30
        daemon.stop()
        assert daemon.health["pid"] == daemon.process.pid
        assert daemon.heard[0].startswith("READY=1\n")
        assert sum(line.startswith("WATCHDOG=1") for line in daemon.heard) >= 3
        assert any(line.startswith("STATUS=") and "ok" in line for line in "\n".join(daemon.heard).splitlines())
        assert any(line.startswith("STOPPING=1") for line in daemon.heard)
    assert program("ledger", "verify").code == 0
    rows = program("list", "--state", "removed", "--json").lines
    assert len(rows) == 6 - 1  # uploaded again, the pict-rs' picture is the same object


CAUSES = {"bucket": "access denied|unknown", "tree": "was refused", "pictures": "API key is not accepted"}


def test_credentials_that_are_wrong_are_shown_and_backed_off_until_they_are_right(world: World) -> None:
    local = world.folder / "media"
    local.mkdir()
    world.revoke()
    world.upload("bad", "astronaut")
    config = world.config(f'[[stores]]\nname = "local"\nurl = "{local}"\n')
    with watching(world, config) as daemon:
        began = time.monotonic()
        check_failing(daemon, "local")
        # Who has no trouble is served meanwhile.
        (local / "x.jpeg").write_bytes(jpeg_bytes("astronaut"))
        wait_for(lambda: not (local / "x.jpeg").exists())
        # The wait doubles: 1, 2, 4, 8, ... seconds.
        wait_for(lambda: all(daemon.rest(name) >= 4 for name in NAMES))
        world.grant()
        wait_for(lambda: not any(world.there("bad").values()), 90)
        wait_for(lambda: daemon.states() == {"ok"})
        # And they may stop working again while it is connected.
        world.revoke()
        world.upload("again", "astronaut")
        check_failing(daemon, "local")
        wait_for(lambda: all(daemon.rest(name) >= 2 for name in NAMES))
        world.grant()
        wait_for(lambda: not any(world.there("again").values()), 90)
        wait_for(lambda: daemon.states() == {"ok"})
        took = time.monotonic() - began
        err = daemon.stop()
    for name in NAMES:
        told = [line for line in err.splitlines() if f"{name}: failing" in line]
        assert 4 <= len(told) < 14, (took, told)  # every failure is logged, and there are few: no silent loop, no flood
    for secret in (world.user[1], "the-key", "another-key"):
        assert secret not in err and secret not in json.dumps(daemon.health)


def check_failing(daemon: Watching, fine: str) -> None:
    wait_for(lambda: [s["state"] for n, s in daemon.stores().items() if n != fine] == ["failing"] * 3)
    assert daemon.health["state"] == "failing"
    for name, cause in CAUSES.items():
        store = daemon.stores()[name]
        assert re.search(cause, store["error"]), store
    assert daemon.stores()[fine]["state"] == "ok"


def test_a_single_store_with_wrong_credentials_is_one_line(world: World) -> None:
    """At the start, before a model is loaded. (A pict-rs is asked nothing yet: it is shown as failing.)"""
    world.revoke()
    config = world.config()
    for name, words in (("bucket", "s3:ListBucket"), ("tree", "ssh.identity_file")):
        check_one_line_error(program("watch", name, "--config", config), 2, words)
