"""Where in a TOML text its tables and keys stand, so that a mistake can be named with its line. Parses no values."""

from __future__ import annotations

import re
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]
"""A table or key by its names from the top; tables of an array by their number."""


def line_numbers(text: str) -> dict[KeyPath, int]:
    """Map the path of each table and key to the line that it begins on, as far as plain reading tells."""
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line):
            table = tuple(_unquoted(part) for part in header[2].split("."))
            if header[1] == "[[":
                lines.setdefault(table, number)
                index = counts.get(table, 0)
                counts[table] = index + 1
                table = (*table, index)
            lines[table] = number
        elif key := re.match(r"\s*(\"[^\"]*\"|'[^']*'|[\w.-]+)\s*=", line):
            lines.setdefault((*table, _unquoted(key[1])), number)
    return lines


def problem_at(lines: Mapping[KeyPath, int], path: KeyPath, text: str) -> str:
    """Return `text` with the line of the path, or of the nearest table above it that has one."""
    line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
    return f"line {line}: {text}" if line else text


def syntax_problem(message: str) -> str:
    """Put the position first: 'Expected ... (at line 3, column 4)' becomes 'line 3: Expected ... (column 4)'."""
    found = re.fullmatch(r"(.*) \(at line (\d+), (.*)\)", message, re.DOTALL)
    return f"line {found[2]}: {found[1]} ({found[3]})" if found else f"not valid TOML: {message}"


def dotted(path: KeyPath) -> str:
    """Return a path as TOML writes it."""
    return ".".join(str(part) for part in path)


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'")
