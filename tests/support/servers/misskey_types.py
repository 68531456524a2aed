"""Misskey's own types of its API, misskey-js from npm, and TypeScript's compiler, which holds JSON to them.

`./dev test --servers misskey-js` installs both. No Misskey is to be had from a registry: a fake that answers nothing
but what these types allow stands in for it.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import needs
from support.servers import npm

VERSION = "2026.5.1"
TYPESCRIPT = "5.9.3"
_PACKAGES = {"misskey-js": VERSION, "typescript": TYPESCRIPT}
_COMMAND = "./dev test --servers misskey-js"
_SECONDS = 300


def check() -> bool:
    """Whether it is installed; raises Unready if it cannot be."""
    return npm.check("misskey-js", _PACKAGES)


def build(say: Callable[[str], None]) -> None:
    """Install it, without running anything of it."""
    npm.build("misskey-js", _PACKAGES, say)


def modules() -> Path:
    """Return where its modules lie."""
    return npm.place("misskey-js", _PACKAGES) / "node_modules"


@dataclass(frozen=True)
class Exchange:
    """A question to an endpoint, without a leading `/api/`, and what was answered. `failed`: with an error.

    `file`: the field of the form in which a file was.
    """

    endpoint: str
    asked: Any
    answered: Any
    failed: bool = False
    file: str | None = None


_HEADER = """\
import type { Endpoints, permissions } from 'misskey-js';
type E = { error: { code: string; message: string; id: string } };
type Usual<R> = R extends { $switch: { $default: infer D } } ? D : R;
"""


def problems(exchanges: Sequence[Exchange], permissions: Sequence[str] = ()) -> list[str]:
    """Return what the compiler says against these: a line for each that the types do not allow, with its number.

    `permissions` are counted on from there. Of answers that depend on the question the usual one is meant.
    """
    needs.started("misskey-js")
    if not check():
        raise RuntimeError(f"misskey-js is not installed: run `{_COMMAND}` once")
    lines: list[str] = []
    for at, exchange in enumerate(exchanges):
        endpoint = json.dumps(exchange.endpoint)
        answer = "E" if exchange.failed else f"Usual<Endpoints[{endpoint}]['res']>"
        asked = json.dumps(exchange.asked)
        asked = asked if exchange.file is None else f"{{...{asked}, {exchange.file}: new Blob()}}"
        lines.append(f"const q{at}: Endpoints[{endpoint}]['req'] = {asked};")
        lines.append(f"const a{at}: {answer} = {json.dumps(exchange.answered)};")
    for at, permission in enumerate(permissions):
        lines += [f"const p{at}: (typeof permissions)[number] = {json.dumps(permission)};", ""]
    with tempfile.TemporaryDirectory(prefix="misskey-types-") as folder:
        place = Path(folder)
        (place / "node_modules").symlink_to(modules())
        (place / "exchanges.ts").write_text(_HEADER + "\n".join(lines) + "\n")
        command = ["node", str(modules() / "typescript/bin/tsc"), "--noEmit", "--strict", "--skipLibCheck"]
        command += ["--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext", "exchanges.ts"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=_SECONDS, check=False)
    found = re.findall(r"^exchanges\.ts\((\d+),\d+\): error (.*)$", done.stdout, re.MULTILINE)
    if not found and done.returncode:
        raise RuntimeError(f"the compiler failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [f"{(int(line) - 1 - _HEADER.count(chr(10))) // 2}: {said}" for line, said in found]
