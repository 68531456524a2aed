"""A line that is typed on a terminal without being shown."""

from __future__ import annotations

import sys
import termios


def hidden_line() -> str:
    """Read one line from standard input with the terminal's echo off; as it is where that is no terminal.

    What was typed ahead is not thrown away, as it would be by `getpass`.
    """
    try:
        before = termios.tcgetattr(sys.stdin)
    except termios.error:
        return sys.stdin.readline()
    silent = list(before)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, silent)
    try:
        return sys.stdin.readline()
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        sys.stderr.write("\n")
