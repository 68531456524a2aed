"""The container's recipe, as far as it can be checked without a container engine; test_docker.py has one.

Its steps are run, as they stand in the Containerfile, in a clean Debian root made by debootstrap; the result is started
as its user on a read-only root. A linter reads both recipes. Needs root, as building a container does.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes
from support.servers import debian, trixie

ROOT = Path(__file__).parent.parent.parent
COMPOSE_FILES = ("compose.yaml", "compose.gate.yaml", "compose.lemmy-ansible.yaml", "compose.mastodon.yaml")
# As Mastodon's own has them, with the parts that matter here.
MASTODON = """\
services:
  web:
    image: ghcr.example/mastodon
    networks: [external_network, internal_network]
    ports: ["127.0.0.1:3000:3000"]
networks:
  external_network:
  internal_network:
    internal: true
"""
RECIPES = ("Containerfile", "Containerfile.cuda", "Containerfile.gate")


def instructions(recipe: str) -> list[tuple[str, str]]:
    """Return a recipe's instructions with continued lines joined."""
    text = (ROOT / "packaging" / recipe).read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(line.split()[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_linter_finds_nothing(recipe: str) -> None:
    linter = Path(sys.executable).parent / "hadolint"
    # DL3008 asks for a pinned ca-certificates, of which the newest is always right.
    done = subprocess.run(
        [linter, "--no-color", "--ignore", "DL3008", ROOT / "packaging" / recipe], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_runs_unprivileged_with_one_volume_and_a_health_check(recipe: str) -> None:
    found = dict(instructions(recipe))
    assert found["USER"] == "991:991"
    assert json.loads(found["VOLUME"]) == ["/var/lib/fedi-safety"]
    assert "healthy.py" in found["HEALTHCHECK"]
    assert json.loads(found["ENTRYPOINT"]) == ["fedi-safety"]


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_the_compose_files_take_every_right_away(name: str) -> None:
    text = (ROOT / "packaging" / name).read_text("utf-8")
    for line in ("read_only: true", "cap_drop: [ALL]", "no-new-privileges:true", 'user: "991:991"'):
        assert line in text


# As the container runs: nothing writable but the volume and /tmp, no capabilities, no new privileges.
_READ_ONLY = """
mount --bind "$1" "$1" && mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" || exit 99
mount --bind "$1/var/lib/fedi-safety" "$1/var/lib/fedi-safety" || exit 98
mount -t tmpfs -o size=16m,mode=1777 tmpfs "$1/tmp" || exit 97
mount -o remount,bind,ro "$1" || exit 96
exec chroot "$1" /usr/bin/setpriv --reuid=991 --regid=991 --clear-groups --no-new-privs --bounding-set=-all \\
    /usr/bin/env -i HOME=/var/lib/fedi-safety LANG=C.UTF-8 \\
    PATH=/opt/fedi-safety:/usr/bin:/bin sh -c "$2"
"""


@pytest.mark.needs("debian")
def test_the_recipe_s_steps_give_a_working_program_on_a_read_only_root() -> None:
    root = debian.root("bookworm")
    with (debian.CACHE / "bookworm.lock").open("w") as lock:  # two test runs at once share the root
        fcntl.flock(lock, fcntl.LOCK_EX)
        build_and_run(root)


def build_and_run(root: Path) -> None:
    """Carry out the recipe in `root`, then start the result as a container would."""
    for stale in ("opt/fedi-safety", "var/lib/fedi-safety", "srv/media"):
        shutil.rmtree(root / stale, ignore_errors=True)
    env = debian.network(root)
    where = "/"
    ran = 0
    for kind, text in instructions("Containerfile"):
        if kind == "ENV":
            env |= dict(pair.split("=", 1) for pair in shlex.split(text))
        elif kind == "WORKDIR":
            where = text
            (root / text.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif kind == "COPY":
            *sources, target = text.split()
            place = (root / where.lstrip("/") / target).resolve()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(
                        ROOT / source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
                    )
                else:
                    shutil.copy2(ROOT / source, place)
        elif kind == "RUN":
            if "useradd" in text:
                debian.inside(root, "userdel fedi-safety; true", env)
            done = debian.inside(root, text, env, where)
            assert done.returncode == 0, (text, done.stdout[-2000:], done.stderr[-2000:])
            ran += 1
            env |= debian.certificates(root)  # as soon as it has a place for them
        elif kind == "USER":
            break
    assert ran == 3
    media = root / "srv/media"
    media.mkdir(parents=True)
    (media / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    script = (
        "touch /opt/here 2>/dev/null && echo WRITABLE; fedi-safety self-test && "
        "fedi-safety scan /srv/media --dry-run --json"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", _READ_ONLY, "sh", root, script], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done
    assert "WRITABLE" not in done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["judged"] == 1
    assert (root / "var/lib/fedi-safety/ledger.db").exists()


def compose(*files: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Have Docker Compose itself say what it makes of some files."""
    command: list[str | Path] = [trixie.compose(), *(word for file in files for word in ("-f", str(file))), "config"]
    env = {"PATH": os.defpath, "HOME": "/nonexistent", **variables}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.needs("trixie")
@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_docker_compose_takes_the_files_and_each_builds_by_itself(name: str, tmp_path: Path) -> None:
    """With the variables that they ask for; one that lacks is named. Where a dockerd is, test_docker.py builds them."""
    variables = {"PICTRS_API_KEY": "the-stack-s-key", "LEMMY_NETWORK": "examplenet"}
    files = [ROOT / "packaging" / name]
    words = ["image: fedi-safety:latest", "name: fedi-safety-ledger", "read_only: true"]
    if name == "compose.mastodon.yaml":
        variables = {"SAFETY_CLONE": str(ROOT)}
        stack = tmp_path / "docker-compose.yml"
        stack.write_text(MASTODON)
        files.insert(0, stack)
        words += [f"source: {tmp_path}/public/system", "host_ip: 127.0.0.1", 'published: "14052"', "http://web:3000"]
    else:
        words.append("name: examplenet")
    if name in ("compose.gate.yaml", "compose.lemmy-ansible.yaml"):
        variables["GATE_TOKEN"] = "a-secret"
    if name == "compose.lemmy-ansible.yaml":
        variables["SAFETY_CLONE"] = str(ROOT)
        stack = tmp_path / "docker-compose.yml"
        stack.write_text(
            "services:\n  pictrs:\n    image: pictrs\n  pictrs-safety:\n    image: registry.example/other\n"
        )
        files.insert(0, stack)
    for lacking in variables.keys() - {"LEMMY_NETWORK"}:
        refused = compose(*files, variables={key: value for key, value in variables.items() if key != lacking})
        assert refused.returncode != 0 and lacking in refused.stderr, (lacking, refused)
    done = compose(*files, variables=variables)
    assert done.returncode == 0 and "level=" not in done.stderr, done
    said = done.stdout
    (context,) = set(re.findall(r"^ +context: (.+)$", said, re.MULTILINE))
    (recipe,) = set(re.findall(r"^ +dockerfile: (.+)$", said, re.MULTILINE))
    assert (Path(context) / recipe).resolve() == ROOT / "packaging/Containerfile", said
    for word in words:
        assert word in said, (word, said)
    assert "registry.example" not in said


def test_the_health_check_tells_fresh_from_stale(tmp_path: Path) -> None:
    def check() -> int:
        return subprocess.run(
            [sys.executable, ROOT / "tools/healthy.py", tmp_path / "health.json", "60"], capture_output=True
        ).returncode

    assert check() == 1
    (tmp_path / "health.json").write_text('{"state": "ok"}')
    assert check() == 0
    (tmp_path / "health.json").write_text('{"state": "failing"}')
    assert check() == 1
    (tmp_path / "health.json").write_text('{"state": "ok"}')
    os.utime(tmp_path / "health.json", (time.time() - 100, time.time() - 100))
    assert check() == 1


def test_the_health_check_asks_the_gate() -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    def check(path: str) -> int:
        url = f"http://127.0.0.1:{server.server_address[1]}{path}"
        return subprocess.run([sys.executable, ROOT / "tools/healthy.py", url], capture_output=True).returncode

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        assert check("/healthz") == 0
        assert check("/other") == 1
        server.shutdown()
    assert check("/healthz") == 1
