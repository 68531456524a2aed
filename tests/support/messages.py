"""What the program says to people, read from its sources. `python -m support.messages` prints what asks for something.

A message is text in the code that is no docstring, no statement of SQL's and more than one word; placeholders are `{}`.
It asks for something if a part of it begins with a verb that tells a person what to do.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src/fedi_safety"
NOT_SAID = ("ledger/migrations/", "ledger/schema.py", "clients/postgresql.py")
"""Files whose text is for machines."""
VERBS = (
    *("add", "allow", "answer", "ask", "call", "check", "choose", "compare", "copy", "correct", "delete", "dismiss"),
    *("edit", "empty", "exchange", "fetch", "free", "give", "go", "have", "import", "install", "keep", "leave", "let"),
    *("list", "log", "look", "lower", "make", "mend", "mount", "move", "name", "note", "open", "pass", "pick", "point"),
    *("put", "raise", "read", "reduce", "remove", "rename", "repair", "repeat", "replace", "report", "restart"),
    *("restore", "resume", "run", "save", "say", "scan", "see", "send", "set", "shorten", "spell", "start", "stop"),
    *("switch", "take", "tell", "trust", "try", "turn", "type", "unset", "update", "upgrade", "use", "wait", "write"),
)
_SQL = re.compile(
    r"\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|PRAGMA|BEGIN|ATTACH|WITH \w+ AS|SET |SHOW |FROM )"
)
_ASKS = re.compile(
    rf"(?:^|[;:.!,(] ?(?:and |or |then |please )?)(?:do not |never )?(?:{'|'.join(VERBS)})\b[^=]", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z]{2,}")


@dataclass(frozen=True, slots=True)
class Message:
    """A text that the program may show, and where it stands."""

    file: str
    line: int
    text: str

    @property
    def asks(self) -> bool:
        """Whether it tells a person to do something."""
        return _ASKS.search(self.text) is not None


@cache
def messages() -> tuple[Message, ...]:
    """Return every message of the program, file by file."""
    names = [str(path.relative_to(SOURCES)) for path in sorted(SOURCES.rglob("*.py"))]
    said = [name for name in names if not name.startswith(NOT_SAID)]
    return tuple(found for name in said for found in _of(name, ast.parse((SOURCES / name).read_text("utf-8"))))


def _of(name: str, tree: ast.Module) -> Iterator[Message]:
    nodes = list(ast.walk(tree))
    passed = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
    for node in nodes:
        if id(node) in passed:
            continue
        if isinstance(node, ast.JoinedStr):
            passed |= {id(part) for part in node.values}
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if " " in text and len(_WORD.findall(text)) > 1 and not _SQL.match(text):
            yield Message(name, node.lineno, " ".join(text.split()))


if __name__ == "__main__":
    for found in messages():
        if found.asks:
            sys.stdout.write(f"{found.file}:{found.line}: {found.text}\n")
