"""The pages of the documentation: their code blocks, and a shell in which commands are followed as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support import forked
from support.program import command

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(p for p in (ROOT / "docs").rglob("*.md") if p.parent.name != "decisions")])
_BLOCK = re.compile(r"^( *)```([a-z]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_ASKING = """#!{python} -ISE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect({place!r})
    sent = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode(errors="surrogateescape")
    asking.sendall(sent)
    asking.shutdown(socket.SHUT_WR)
    code, out, err = json.loads(b"".join(iter(lambda: asking.recv(65536), b"")))
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A code block of a page."""

    page: str
    """Below the repository's root, with slashes."""
    line: int
    kind: str
    """The language that it names; "" for none."""
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a shell's block, one each, whole where a line goes on or a loop is open; no output."""
        text = self.text.replace("\\\n", " ")
        if self.kind == "console":
            return re.findall(r"^\$ (.+)$", text, re.MULTILINE)
        text = re.sub(r"(^.*\bdo$)\n(.*?)(^done$)", lambda m: f"{m[1]} {m[2].strip()}; {m[3]}", text, flags=re.M | re.S)
        return [re.sub(r"\s+", " ", line.split("  #")[0].strip()) for line in text.splitlines() if line.strip()]

    @property
    def script(self) -> str:
        """The same for a shell: of a console what was typed, of cron's lines what they start."""
        text = "\n".join(self.commands) if self.kind == "console" else self.text
        return re.sub(r"^(?:[\d*]+ ){5}", "", text, flags=re.MULTILINE)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """Return every code block of a page, in order."""
    text = path.read_text("utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        inner = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
        page = path.relative_to(ROOT).as_posix()
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, match[2], inner))
    return found


def calls(text: str) -> list[list[str]]:
    """Return the words of each call of the program in a shell's command, after its name."""
    found: list[list[str]] = []
    words = shlex.split(text, posix=True)
    for at, word in enumerate(words):
        if re.fullmatch(r"(\S*/)?fedi-safety", word) and (at == 0 or _BEFORE.fullmatch(words[at - 1])):
            own = []
            for each in words[at + 1 :]:
                if each in (">", ">>", "|", "&&", "||", ";") or each.endswith(";"):
                    break
                own.append(each)
            found.append(own)
    return found


_BEFORE = re.compile(r"&&|\|\||;|nice|[\d*]|\w+=.*")  # an operator, a variable, or the last of cron's five


@dataclass(frozen=True, slots=True)
class Followed:
    """How a block went."""

    failed: list[str]
    """Each command that did not end with 0, after its code."""
    out: str
    err: str


class Shell:
    """A shell that finds the program on its path, as installed, without the time that a start of it takes."""

    def __init__(self, place: Path, socket_: Path) -> None:
        """`place` has the programs that it finds first; the socket leads to whoever runs the program."""
        self.place = place
        place.mkdir(parents=True)
        self.stand_in("fedi-safety", _ASKING.format(python=sys.executable, place=str(socket_)))

    def stand_in(self, name: str, text: str) -> None:
        """Have a program of this name; one of a machine that no test has (systemctl, mail) is stood in for."""
        (self.place / name).write_text(text)
        (self.place / name).chmod(0o755)

    def follow(self, text: str, folder: Path, variables: Mapping[str, str]) -> Followed:
        """Do what a block says, in a folder, to its end, as somebody does who types it."""
        environment = {**os.environ, **variables, "PATH": f"{self.place}{os.pathsep}{os.environ['PATH']}"}
        ended = self.place.parent / "ended"
        ended.write_text("")
        traps = f"""set -E; trap 'echo "$? $BASH_COMMAND" >>{ended}' ERR\n"""
        done = subprocess.run(
            ["bash", "-uo", "pipefail", "-c", traps + text],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        return Followed(ended.read_text().splitlines(), done.stdout, done.stderr)


@contextmanager
def shell(place: Path) -> Iterator[Shell]:
    """Have such a shell."""
    path = place / "asked"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        threading.Thread(target=_serve, args=(listening,), daemon=True).start()
        try:
            yield Shell(place / "bin", path)
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            asking, _ = listening.accept()
            with asking, asking.makefile("rb") as asked:
                words, environment, folder = json.loads(asked.read())
                code, out, err = forked.run(command(*words), environment, 120.0, folder)
                asking.sendall(json.dumps([code, out.decode(), err.decode()]).encode())
