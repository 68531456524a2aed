"""Clients that people of the fediverse have, each as it is: what it says of a picture that it sends.

Mastodon.py and toot from PyPI, masto and megalodon from npm speak Mastodon's API, misskey-js Misskey's.
`./dev test --servers clients,misskey-js` installs them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from support import needs
from support.servers import debian, misskey_types, npm, venvs

_HERE = Path(__file__).parent
_PYTHON = {"Mastodon.py": "2.3.3", "toot": "0.52.1"}
_NODE = {"masto": "7.12.0", "megalodon": "10.0.2"}
_PLACE = debian.CACHE / f"clients-{'-'.join(_PYTHON.values())}"
_COMMAND = "./dev test --servers clients"
_SECONDS = 120


def check() -> bool:
    """Whether they are installed; raises Unready if they cannot be."""
    there = npm.check("clients", _NODE)
    return there and venvs.check(_PLACE)


def build(say: Callable[[str], None]) -> None:
    """Install them."""
    npm.build("clients", _NODE, say)
    venvs.build(_PLACE, [f"{name}=={version}" for name, version in _PYTHON.items()])


@dataclass(frozen=True, slots=True)
class Said:
    """What a client came to: the id of what it sent, or its own exception by name and message."""

    id: str | None
    error: str | None = None
    message: str = ""


def send(client: str, url: str, token: str, file: Path) -> Said:
    """Have a client library send a picture, as somebody who has this token."""
    started()
    if client == "Mastodon.py":
        command = [str(_PLACE / "bin/python"), str(_HERE / "mastodon_py.py")]
        modules: dict[str, str] = {}
    else:
        command = [str(debian.path_of("node")), str(_HERE / f"{client}.cjs")]
        place = misskey_types.modules() if client == "misskey-js" else npm.place("clients", _NODE) / "node_modules"
        modules = {"NODE_PATH": str(place), "MODULES": str(place)}
    done = _run([*command, url, token, str(file)], modules)
    if done.returncode != 0:
        raise RuntimeError(f"{client} failed: {done.stderr[-2000:]}")
    said = json.loads(done.stdout)
    return Said(said.get("id"), said.get("error"), said.get("message", ""))


def toot(home: Path, url: str, token: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run toot's command line, logged in with a token."""
    started()
    instance = urlsplit(url).netloc
    user = {"instance": instance, "username": "someone", "access_token": token}
    app = {"instance": instance, "base_url": url, "client_id": "1", "client_secret": "1"}
    config = {"apps": {instance: app}, "users": {f"someone@{instance}": user}, "active_user": f"someone@{instance}"}
    (home / "toot").mkdir(parents=True, exist_ok=True)
    (home / "toot/config.json").write_text(json.dumps(config))
    return _run([str(_PLACE / "bin/toot"), *words], {"XDG_CONFIG_HOME": str(home)})


def started() -> None:
    """Say that a client runs."""
    needs.started("clients")
    if not check():
        raise RuntimeError(f"the clients are not installed: run `{_COMMAND}` once")


def _run(command: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.defpath, "NO_PROXY": "*", "LC_ALL": "C.UTF-8", **more}
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL, check=False
    )
