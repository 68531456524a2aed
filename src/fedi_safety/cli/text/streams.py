"""The program's output: UTF-8 whatever the locale says, and a reader that has gone (`| head`) is no error.

What only tells something ends then, having told as much as was wanted. What has work to finish goes on unheard.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

_T = TypeVar("_T")
_UTF8_MODE = ["-X", "utf8"]


class ReaderGone(BaseException):
    """Nobody reads standard output any more. No error, and nothing that a command may catch."""


class Output(TextIOWrapper):
    """A standard stream whose reader may go. No library learns of it, for each makes something else of it."""

    ends = False
    """Whether the command is over then."""

    def write(self, text: str, /) -> int:
        """Write, as far as somebody reads. Raises `ReaderGone`."""
        return self._heard(lambda: super(Output, self).write(text), len(text))

    def flush(self) -> None:
        """Hand over what was written. Raises `ReaderGone`."""
        self._heard(lambda: super(Output, self).flush(), None)

    def _heard(self, work: Callable[[], _T], unheard: _T) -> _T:
        try:
            return work()
        except BrokenPipeError:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, self.fileno())
            os.close(silence)
            if self.ends:
                raise ReaderGone from None
            return unheard


def speak_utf8() -> None:
    """See that the locale decides neither keys nor what is read and written: names are bytes, text is UTF-8 everywhere.

    Python takes the locale's encoding when it starts, so a process that has another is started again in its place.
    What is no UTF-8 is escaped in what is written, and kept as lone surrogates in what is read.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.orig_argv[1:3] != _UTF8_MODE:
        sys.stdout.flush()
        environment = os.environ | {"PYTHONUTF8": "1"}  # for the processes that this one starts
        os.execve(sys.executable, [sys.executable, *_UTF8_MODE, *sys.orig_argv[1:]], environment)
    # PYTHONIOENCODING may still say something else.
    sys.stdout, sys.stderr = _output(sys.stdout), _output(sys.stderr)
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")


def ends_unread(ends: bool) -> None:
    """Say whether the command is over when nobody reads its standard output any more."""
    if isinstance(sys.stdout, Output):
        sys.stdout.ends = ends


def _output(stream: Any) -> Any:
    if stream is None:  # it was closed before the program began
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, TextIOWrapper):
        return stream
    line_buffering, write_through = stream.line_buffering, stream.write_through
    stream.flush()
    buffer: BinaryIO = stream.detach()
    return Output(
        buffer, encoding="utf-8", errors="backslashreplace", line_buffering=line_buffering, write_through=write_through
    )
