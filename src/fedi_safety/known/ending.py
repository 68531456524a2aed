"""When lists and entries end, and up to when that was applied to what a ledger has; kept beside the lists."""

from __future__ import annotations

import sqlite3

STEPS = (
    "CREATE INDEX entries_ending ON entries (expires_s) WHERE expires_s IS NOT NULL",
    "CREATE TABLE ended (ledger TEXT PRIMARY KEY, until_s REAL NOT NULL)",
)
_TABLES = ("lists", "entries")


def any_ended(connection: sqlite3.Connection, ledger: str, now_s: float) -> bool:
    """Whether a list or an entry ended since that was last applied to this ledger."""
    query = "SELECT coalesce(max(until_s), 0) FROM ended WHERE ledger = ?"
    (until_s,) = connection.execute(query, (ledger,)).fetchone()
    return any(
        connection.execute(
            f"SELECT 1 FROM {table} WHERE expires_s > ? AND expires_s <= ? LIMIT 1", (until_s, now_s)
        ).fetchone()
        for table in _TABLES
    )


def next_end(connection: sqlite3.Connection, now_s: float) -> float | None:
    """Return when the next list or entry ends, in seconds since 1970; None where none does."""
    found = [
        connection.execute(f"SELECT min(expires_s) FROM {table} WHERE expires_s > ?", (now_s,)).fetchone()[0]
        for table in _TABLES
    ]
    return min((each for each in found if each is not None), default=None)


def note(connection: sqlite3.Connection, ledger: str, until_s: float) -> None:
    """Note up to when what ended was applied to a ledger, inside a write transaction."""
    connection.execute("INSERT OR REPLACE INTO ended VALUES (?, ?)", (ledger, until_s))
