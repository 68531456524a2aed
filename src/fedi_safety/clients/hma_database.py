"""The PostgreSQL of a Hasher-Matcher-Actioner, read only: what is in its banks.

Its HTTP API adds to banks and looks hashes up, and has no call that lists what is in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fedi_safety.clients.postgresql import ReadOnlyPostgresql, Trouble
from fedi_safety.core.errors import KnownError, KnownUsageError

READS: Mapping[str, tuple[str, ...]] = {
    "bank": ("id", "name", "enabled_ratio"),
    "bank_content": ("id", "bank_id", "disable_until_ts"),
    "content_signal": ("content_id", "signal_type", "signal_val", "create_time"),
}
"""The columns that are read, by table, and nothing else."""

_PAGE = 20_000
_WITHIN_S = 600.0
# A content is disabled until a time: 0 means for ever, 1 not at all. A bank that matches nothing has the ratio 0.
_SIGNALS = """
SELECT s.content_id, s.signal_type, s.signal_val, b.name, extract(epoch FROM s.create_time)::float8
FROM content_signal s JOIN bank_content c ON c.id = s.content_id JOIN bank b ON b.id = c.bank_id
WHERE (s.content_id, s.signal_type) > (%(content)s, %(type)s) AND b.enabled_ratio > 0
AND c.disable_until_ts BETWEEN 1 AND %(now)s
ORDER BY s.content_id, s.signal_type LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Signal:
    """A hash in a bank."""

    content: int
    kind: str
    text: str
    bank: str
    made_s: float


class HmaDatabase:
    """Reads the banks of one Hasher-Matcher-Actioner. It never writes."""

    def __init__(self, dsn: str, name: str) -> None:
        """Take the connection string, and the source's name for messages; nothing is opened yet."""
        self._name = name
        self._database = ReadOnlyPostgresql(dsn, f"source {name}", self._fault)

    def signals(self, now_s: float) -> Iterator[list[Signal]]:
        """Yield all hashes of contents that are enabled, in banks that are, some at a time. Raises `KnownError`."""
        content, kind = 0, ""
        with self._database.session(_WITHIN_S) as session:
            while True:
                params = {"content": content, "type": kind, "now": int(now_s), "most": _PAGE}
                rows = session.rows(_SIGNALS, params)
                if not rows:
                    return
                yield [Signal(*row) for row in rows]
                content, kind = rows[-1][:2]

    def _fault(self, trouble: Trouble, cause: str) -> KnownError:
        usage = trouble in (Trouble.SETUP, Trouble.CREDENTIALS, Trouble.PRIVILEGE, Trouble.SCHEMA)
        error = KnownUsageError if usage else KnownError
        remedy = {
            Trouble.PRIVILEGE: f"let the role read {', '.join(READS)}",
            Trouble.SCHEMA: "check that it is the database of a Hasher-Matcher-Actioner 1.1",
        }.get(trouble, "check its url and credentials" if usage else "try again later")
        return error(f"source {self._name}", cause, remedy)
