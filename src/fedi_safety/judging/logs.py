"""How the gate writes its log: one line for each answer, with the request's id; as text, or as JSON objects.

Never pixels, tokens or keys (I1): hashes, sizes, codes and names.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedi_safety.core.errors import printable

access = logging.getLogger("fedi_safety.gate.access")


def named(error: BaseException) -> str:
    """Return what an unexpected error is and where it came from; not its text, which may quote the media (I1)."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def new_id() -> str:
    """Return a request's id: 32 hex digits that sort by time."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def since(started: float) -> float:
    """Return the seconds since a time of `time.monotonic()`, as the log has them."""
    return round(time.monotonic() - started, 3)


def note(message: str, *, level: int = logging.INFO, **facts: Any) -> None:
    """Log one line with named facts; those that are None are left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    access.log(level, message, extra={"facts": known})


class TextLines(logging.Formatter):
    """Time, level, message, and facts as `name=value`."""

    def __init__(self) -> None:
        """Use the program's ordinary beginning of a line."""
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = printable(super().format(record)) if not record.exc_info else super().format(record)
        facts = getattr(record, "facts", None)
        if not facts:
            return line
        return line + "".join(f" {name}={_word(value)}" for name, value in facts.items())


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= getattr(record, "facts", {})
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str, ensure_ascii=True)


def set_up(form: str) -> None:
    """Give the root's handlers the form `text` or `json`, and always let the answers' lines pass."""
    formatter = JsonLines() if form == "json" else TextLines()
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)
    # It would write errors with all their text; the gate has named them already.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    # What it writes of an answer are all of its headers, cookies among them.
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    # It writes a line for each form that is malformed, which anybody can send.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def _word(value: Any) -> str:
    text = printable(str(value))
    return json.dumps(text) if any(c in text for c in ' "=') or not text else text
