"""The recipes and compose files against a real dockerd: the docs' own words build, and what they build runs.

The base is a clean Debian that the test imports under the recipe's own name; the steps reach the world through this
machine's network, as dockerd has none of its own here. The image for GPUs is only read by the linter.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fedi_safety.config.loading import load_settings
from support.corpus.photos import jpeg_bytes
from support.needs import needs
from support.servers.docker import Docker, docker_server
from support.servers.pictrs import free_port

ROOT = Path(__file__).parents[2]
BUILD = re.compile(r"^(?:docker|podman) build (.+)$", re.MULTILINE)
# As lemmy-ansible writes it, with the parts that matter here.
STACK = """\
version: "3.7"
services:
  pictrs:
    image: docker.io/asonix/pictrs:0.5.19
    environment:
      - PICTRS__SERVER__API_KEY=the-stack-s-key
  pictrs-safety:
    image: registry.example/pictrs-safety:v1.2.2
    environment:
      - FEDIVERSE_SAFETY_WORKER_AUTH=abcdefghij12345
    ports:
      - "14051:14051"
    user: 991:991
    restart: always
"""
MASTODON = """\
services:
  web:
    image: mastodon:v4.4
    networks: [external_network, internal_network]
networks:
  external_network:
  internal_network:
    internal: true
"""
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp:size=16m,mode=1777")


def documented(recipe: str) -> list[str]:
    """Return the words after `build` with which the pages build a recipe: the same on every page."""
    pages = [page.read_text("utf-8") for page in sorted((ROOT / "docs").glob("*.md"))]
    found = {words for page in pages for words in BUILD.findall(page) if f"packaging/{recipe} " in words}
    (words,) = found
    return str(words).split()


@pytest.fixture(scope="module")
@needs("docker")
def docker() -> Iterator[Docker]:
    with docker_server() as running:
        recipe = (ROOT / "packaging/Containerfile").read_text("utf-8")
        running.import_base(re.findall(r"^ARG BASE=(\S+)$", recipe, re.MULTILINE)[0])
        for name in ("Containerfile", "Containerfile.gate"):
            built = running.run("docker", "build", "--network=host", *documented(name), cwd=ROOT)
            assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
        yield running


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    folder = tmp_path / "lemmy.example"
    folder.mkdir()
    (folder / "docker-compose.yml").write_text(STACK)
    return folder


@pytest.mark.long
def test_the_image_scans_on_a_read_only_root(docker: Docker, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (media / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    for path in (*tmp_path.parents, tmp_path, media):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)
    mounts = (f"--volume={media}:/media:ro", "--volume=ledger:/var/lib/fedi-safety", "--network=none")
    done = docker.run(
        "docker", "run", "--rm", *HARDENED, *mounts, "fedi-safety", "scan", "/media", "--dry-run", "--json"
    )
    assert done.returncode == 0, done
    assert json.loads(done.stdout.splitlines()[-1])["judged"] == 1
    # The predecessor's containers were told which of its files to run.
    old = docker.run(
        "docker", "run", "--rm", *HARDENED, "--network=none", "fedi-safety", "lemmy_safety_local_storage.py"
    )
    assert old.returncode == 2 and "PICTRS_FILES_DIRECTORY" in old.stderr, old


@pytest.mark.long
def test_the_gate_s_image_answers(docker: Docker) -> None:
    port = free_port()
    tokens = '--env=FEDI_SAFETY_GATE__TOKENS={"lemmy": "a-secret"}'
    options = (*HARDENED, "--network=host", tokens, f"--env=FEDI_SAFETY_GATE__PORT={port}", "--name=gate")
    started = docker.run("docker", "run", "--detach", *options, "fedi-safety-gate")
    assert started.returncode == 0, started
    try:
        url = f"http://127.0.0.1:{port}/api/v1/scan/a-secret"
        answer = None
        deadline = time.monotonic() + 120
        while answer is None or answer.status_code != 200:
            assert time.monotonic() < deadline, docker.run("docker", "logs", "gate")
            try:
                headers = {"Content-Type": "image/jpeg"}
                answer = httpx.post(url, content=jpeg_bytes("coffee"), headers=headers, timeout=60, trust_env=False)
            except httpx.TransportError:
                time.sleep(0.5)
        assert answer.json()["verdict"] == "clear", answer.text
    finally:
        docker.run("docker", "rm", "--force", "gate")


@pytest.mark.long
def test_the_compose_file_beside_mastodon_builds_and_stands_before_it(docker: Docker, tmp_path: Path) -> None:
    folder = tmp_path / "mastodon"
    folder.mkdir()
    (folder / "docker-compose.yml").write_text(MASTODON)
    files = ["-f", "docker-compose.yml", "-f", str(ROOT / "packaging/compose.mastodon.yaml")]
    refused = docker.run("docker-compose", *files, "config", env={}, cwd=folder)
    assert refused.returncode != 0 and "SAFETY_CLONE" in refused.stderr, refused
    variables = {"SAFETY_CLONE": str(ROOT)}
    own = tmp_path / "network.yaml"
    own.write_text("services:\n  gate:\n    build:\n      network: host\n")
    done = docker.run("docker-compose", *files, "-f", str(own), "build", "gate", env=variables, cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    said = docker.run("docker-compose", *files, "config", env=variables, cwd=folder)
    assert said.returncode == 0, said
    (written,) = re.findall(r"FEDI_SAFETY_GATE__UPSTREAM: '(.*?)'", said.stdout, re.DOTALL)
    upstream = json.loads(re.sub(r"\s+", " ", written))
    settings = load_settings(None, gate={"upstream": upstream}).gate.upstream["mastodon"]
    assert (settings.kind, settings.url) == ("mastodon", "http://web:3000")
    for words in (f"127.0.0.1:{settings.port}:{settings.port}", "fedi-safety:latest", "name: fedi-safety-ledger"):
        assert words in said.stdout, (words, said.stdout)
    gate = said.stdout.partition("  gate:")[2].partition("  web:")[0]
    assert "external_network: {}" in gate and "internal_network: {}" in gate, gate


@pytest.mark.long
@pytest.mark.parametrize("name", ["compose.yaml", "compose.gate.yaml", "compose.lemmy-ansible.yaml"])
def test_the_compose_files_build_by_themselves(docker: Docker, stack: Path, name: str, tmp_path: Path) -> None:
    """With the variables that they ask for, and beside a stack; one that lacks is named."""
    variables = {"PICTRS_API_KEY": "the-stack-s-key", "LEMMY_NETWORK": "examplenet"}
    needed = {"PICTRS_API_KEY"}
    files = ["-f", str(ROOT / "packaging" / name)]
    if name != "compose.yaml":
        variables["GATE_TOKEN"] = "a-secret"
        needed.add("GATE_TOKEN")
    service = {"compose.yaml": "fedi-safety", "compose.gate.yaml": "gate"}.get(name, "pictrs-safety")
    if name == "compose.lemmy-ansible.yaml":
        variables["SAFETY_CLONE"] = str(ROOT)
        needed.add("SAFETY_CLONE")
        files = ["-f", str(stack / "docker-compose.yml"), *files]
    for lacking in needed:
        some = {key: value for key, value in variables.items() if key != lacking}
        refused = docker.run("docker-compose", *files, "config", env=some, cwd=stack)
        assert refused.returncode != 0 and lacking in refused.stderr, (lacking, refused)
    # Only the network of the build is this test's own.
    own = tmp_path / "network.yaml"
    own.write_text(f"services:\n  {service}:\n    build:\n      network: host\n")
    done = docker.run("docker-compose", *files, "-f", str(own), "build", service, env=variables, cwd=stack)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    said = docker.run("docker-compose", *files, "config", env=variables, cwd=stack)
    assert said.returncode == 0, said
    for words in ("examplenet", "image: fedi-safety:latest", "name: fedi-safety-ledger", "the-stack-s-key"):
        assert words in said.stdout, (words, said.stdout)
    if name != "compose.yaml":
        assert '{"lemmy": "a-secret"}' in said.stdout
    if name == "compose.lemmy-ansible.yaml":
        assert "http://pictrs-safety:14051/api/v1/scan/a-secret" in said.stdout
        assert "registry.example" not in said.stdout and "abcdefghij12345" in said.stdout  # a worker goes on working
        shutil.rmtree(stack)
