"""The gate before servers of each kind, with real web servers and real clients: what people see, and what is kept.

mastodon-mock speaks Mastodon's API for all that speak it, and a fake Misskey Misskey's. One gate stands before all of
them, as one host with several servers would have it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes
from support.needs import needs
from support.program import TYPED, program
from support.servers import clients
from support.servers.fronts import Site, front_server, place_for, refused
from support.servers.gate import GateServer, gate_server
from support.servers.mastodon_mock import MastodonMock, Person, mastodon_mock
from support.servers.misskey_drive import MisskeyDrive, misskey_drive
from support.servers.misskey_types import problems
from support.servers.sshd import free_port

ROOT = Path(__file__).parents[2]
RUN = re.compile(r"^<!-- run -->\n```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NGINX = re.compile(r"^<!-- nginx -->\n```nginx\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOKEN = "a-token-that-nobody-is-to-see"
FRONTS = {
    "mastodon": "nginx",
    "glitch-soc": "caddy",
    "gotosocial": "caddy",
    "misskey": "caddy",
    "sharkey": "nginx",
    "pixelfed": "apache",
    "pleroma": "nginx",
    "akkoma": "nginx",
}
MISSKEYS = ("misskey", "sharkey")
REFUSED = "This file cannot be uploaded here."
# Where each server keeps what comes from other servers; what Pleroma does not keep is below the proxy's cache.
FEDERATED = {
    "mastodon": "public/system/cache/media_attachments/files/109/876/543/210/987/654/original/0123456789abcdef.png",
    "glitch-soc": "public/system/cache/media_attachments/files/109/876/543/210/987/655/original/0123456789abcdef.png",
    "gotosocial": "01F8MH1H7YV1Z7D2C8K2730QBF/attachment/original/01F8MH6NEM8D7527KZAECTCR76.png",
    "misskey": "files/0c1b2a39-4857-4665-9748-3f2e1d0c9b8a",
    "sharkey": "files/0c1b2a39-4857-4665-9748-3f2e1d0c9b8a",
    "pixelfed": "storage/app/public/m/_v2/1/a-b/c/d.png",
    "pleroma": "uploads/ab/cd/ef.png",
    "akkoma": "uploads/ab/cd/ef.png",
}


@dataclass(frozen=True)
class World:
    """All that runs, and the files that are sent."""

    gate: GateServer
    mastodon: MastodonMock
    misskey: MisskeyDrive
    fronts: Mapping[str, str]
    folder: Path

    @property
    def photo(self) -> Path:
        return self.folder / "coffee.jpg"

    def stored(self, kind: str) -> set[str]:
        """Return the SHA-256 of all that a server keeps."""
        where = self.misskey.folder if kind in MISSKEYS else self.mastodon.media
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in where.rglob("*") if path.is_file()}

    @property
    def card(self) -> Path:
        return self.folder / "card.png"

    def shown(self, path: Path) -> str:
        """Return what the ledger has on a file, in full."""
        done = program("show", hashlib.sha256(path.read_bytes()).hexdigest(), env=dict(self.gate.environment))
        assert done.code == 0, done
        return done.out


@pytest.fixture(scope="module")
@needs("mastodon-mock", "misskey-js", "clients", "nginx", "caddy", "apache")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("servers")
    (folder / "stores").mkdir()
    (folder / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    assert program("self-test", "--card", str(folder / "card.png")).code == 0
    with ExitStack() as until:
        mastodon = until.enter_context(mastodon_mock([Person("mallory", token=TOKEN)]))
        misskey = until.enter_context(misskey_drive(folder / "misskey", {TOKEN: "mallory"}))
        upstream = {
            kind: {
                "kind": kind,
                "url": misskey.url if kind in MISSKEYS else mastodon.url,
                "port": free_port(),
                "who": True,
            }
            for kind in FRONTS
        }
        gate = until.enter_context(gate_server(folder / "gate", upstream=upstream, store=str(folder / "stores")))
        fronts: dict[str, str] = {}
        for kind, name in FRONTS.items():
            made = program("gate-config", name, kind, env=dict(gate.environment))
            assert made.code == 0, made
            place = place_for(folder / f"{kind}-front")
            server = str(upstream[kind]["url"]).removeprefix("http://")
            fronts[kind] = until.enter_context(front_server(name, place, server, made.out))
        yield World(gate, mastodon, misskey, fronts, folder)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "client", "error"),
    [
        ("mastodon", "Mastodon.py", "MastodonAPIError"),
        ("glitch-soc", "Mastodon.py", "MastodonAPIError"),
        ("gotosocial", "megalodon", "AxiosError"),
        ("pleroma", "masto", "MastoHttpError"),
        ("akkoma", "megalodon", "AxiosError"),
        ("pixelfed", "masto", "MastoHttpError"),
        ("misskey", "misskey-js", "INAPPROPRIATE"),
        ("sharkey", "misskey-js", "INAPPROPRIATE"),
    ],
)
def test_a_photograph_is_posted_and_the_card_is_refused_in_the_client_s_own_words(
    world: World, kind: str, client: str, error: str
) -> None:
    photo = clients.send(client, world.fronts[kind], TOKEN, world.photo)
    assert photo.id is not None and photo.error is None, photo
    assert hashlib.sha256(world.photo.read_bytes()).hexdigest() in world.stored(kind)
    before = world.stored(kind)
    refused = clients.send(client, world.fronts[kind], TOKEN, world.card)
    assert (refused.id, refused.error) == (None, error), refused
    assert REFUSED in refused.message
    assert world.stored(kind) == before
    shown = world.shown(world.card)

    assert "mallory" in shown and "127.0.0.1" in shown, shown
    assert TOKEN not in shown + world.gate.log


@pytest.mark.long
def test_toot_says_it_in_its_terminal(world: World) -> None:
    posted = clients.toot(world.folder, world.fronts["mastodon"], TOKEN, "post", "--media", str(world.photo), "hello")
    assert posted.returncode == 0 and "Toot posted: " in posted.stdout, posted
    refused = clients.toot(world.folder, world.fronts["mastodon"], TOKEN, "post", "--media", str(world.card), "hello")
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", f"Error: {REFUSED}\n")


@pytest.mark.long
def test_the_same_picture_by_federation_is_found_by_watch(world: World) -> None:
    store = world.folder / "stores"
    cards = [store / kind / path for kind, path in FEDERATED.items()]
    for card in cards:
        card.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.folder / "card.png", card)
        shutil.copy(world.photo, card.with_name("photo.jpg"))
    options = ("--once", "--act", "delete", "--without-dry-run")
    done = program("watch", str(store), *options, env=dict(world.gate.environment))
    assert done.code == 0, done
    assert [card for card in cards if card.exists()] == []
    assert all(card.with_name("photo.jpg").exists() for card in cards)


def commands(page: str) -> list[tuple[str, str]]:
    """Return the commands of a page that ask a running gate, with what they print."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    parts = [part.partition("\n") for block in RUN.findall(text) for part in block.split("$ ")[1:]]
    return [(command, output) for command, _, output in parts if not command.startswith("fedi-safety gate-config")]


def comparable(text: str) -> str:
    """Return an output without what is another each time."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\S+", "TIME", text.strip())
    text = re.sub(r"upload [0-9a-f]{32}", "upload ID", text)
    text = re.sub(r"at (127\.0\.0\.1|192\.0\.2\.7)", "at ADDRESS", text)
    text = re.sub(r"by \S+ \(person [\w-]+\)", "by PERSON", text)
    return re.sub(r'"id": "[^"]+"', '"id": "ID"', text)


@pytest.mark.long
@pytest.mark.needs("curl")
@pytest.mark.parametrize("kind", ["mastodon", "misskey", "pixelfed", "pleroma"])
def test_what_the_pages_tell_to_type_does_as_shown(world: World, kind: str) -> None:
    shown = commands(f"gate-{kind}.md")
    assert len(shown) >= 3
    (world.folder / "bin").mkdir(exist_ok=True)
    ours = world.folder / "bin/fedi-safety"
    ours.write_text(f'#!/bin/sh\nexec {TYPED} "$@"\n')
    ours.chmod(0o755)
    settings = {"TOKEN": TOKEN, "PATH": f"{ours.parent}:{os.environ['PATH']}", **world.gate.environment}
    for command, output in shown:
        here = re.sub(r"https://(social|misskey|pixelfed|pleroma)\.example", world.fronts[kind], command)
        assert here != command or command.startswith("fedi-safety show "), command
        done = subprocess.run(
            ["sh", "-c", here], cwd=world.folder, env={**os.environ, **settings}, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert comparable(done.stdout) == comparable(output), (command, done)


@pytest.mark.long
@pytest.mark.needs("nginx")
def test_the_web_server_of_its_own_for_php_is_understood(tmp_path: Path) -> None:
    (block,) = NGINX.findall((ROOT / "docs/gate-pixelfed.md").read_text("utf-8"))
    place = place_for(tmp_path / "place")
    (place / "fastcgi_params").write_text("fastcgi_param REQUEST_METHOD $request_method;\n")
    site = Site("", f"# 1.\n{block}\n# 2. \nreturn 204;", 20000)
    assert refused("nginx", place, [site]) is None
    assert refused("nginx", place, [Site("", site.snippet.replace("real_ip_header", "real_header"), 20000)]) is not None


@pytest.mark.long
def test_what_the_fake_misskey_said_is_what_misskey_says(world: World) -> None:
    clients.send("misskey-js", world.fronts["misskey"], TOKEN, world.photo)
    said = list(world.misskey.exchanges)
    assert {exchange.endpoint for exchange in said} >= {"drive/files/create"}
    assert problems(said) == []
