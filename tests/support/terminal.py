"""The program on a terminal: what a person sees there, and what they type."""

from __future__ import annotations

import os
import pty
import time
from select import POLLIN, poll

from support.program import Done, command


def on_terminal(*arguments: str, answers: tuple[tuple[str, str], ...], seconds: float = 60.0) -> Done:
    """Run one command on a terminal; give each answer once the words before it are there. All it says is in `out`."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command()[0], command(*arguments))
    said = ""
    waiting = list(answers)
    seen = 0  # how much of what was said an answer was given to
    deadline = time.monotonic() + seconds
    told = poll()  # not `select`, which refuses handles above 1,023
    told.register(terminal, POLLIN)
    try:
        while True:
            assert time.monotonic() < deadline, f"it waits: {said}"
            if not told.poll(200):
                continue
            try:
                part = os.read(terminal, 65536)
            except OSError:  # how a terminal ends on Linux
                break
            if not part:
                break
            said += part.decode()
            if waiting and waiting[0][0] in said[seen:]:
                seen = len(said)
                os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
    finally:
        os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert not waiting, f"it never asked {waiting[0][0]!r}: {said}"
    return Done(os.waitstatus_to_exitcode(status), said.replace("\r\n", "\n"), "")
