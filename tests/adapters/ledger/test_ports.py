"""The ledger stays behind its ports: who is above it knows `core.ledger.ports`, and app/ledger.py alone opens one.

import-linter holds imports to it; this sees those that are for the type checker as well, and the attribute.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import fedi_safety

PACKAGE = Path(fedi_safety.__file__).parent
OPENS_IT = Path("app/ledger.py")


def _imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _behind(source: str) -> set[str]:
    """Return what of the ledger's own package a module's source imports, wherever in it."""
    if "ledger" not in source:  # most have no word of it, and to parse takes time
        return set()
    return {name for name in _imports(source) if name.startswith("fedi_safety.ledger")}


def _databases(source: str) -> set[int]:
    """Return the lines that take a ledger's database."""
    if ".database" not in source:
        return set()
    found = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute))
    return {
        node.lineno
        for node in found
        if node.attr == "database" and ast.unparse(node.value).endswith(("ledger", "records"))
    }


def test_nobody_above_knows_how_the_ledger_is_made() -> None:
    modules = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    above = {path: (PACKAGE / path).read_text("utf-8") for path in modules if path.parts[0] != "ledger"}
    assert {str(path) for path, source in above.items() if _behind(source) and path != OPENS_IT} == set()
    assert {str(path) for path, source in above.items() if _databases(source)} == set()
    assert _behind(above[OPENS_IT])


def test_the_check_sees_what_it_is_for() -> None:
    planted = "if TYPE_CHECKING:\n    from fedi_safety.ledger.ledger import SqlLedger\n"
    planted += "def f():\n    import fedi_safety.ledger\n"
    assert _behind(planted) == {"fedi_safety.ledger.ledger.SqlLedger", "fedi_safety.ledger"}
    assert _databases("show(self._ledger.database, key)\nmine.database.read()\nrecords.database\n") == {1, 3}
