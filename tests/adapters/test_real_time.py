"""The real time class for who passes: where it may be had, what ends it, and that nothing is started in it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have it otherwise")
# Root may; another user where it is granted to it. What is asked for is run in a process of its own.
_BEGIN = """
import asyncio, os, resource, signal, threading, time
from fedi_safety.service.real_time import RealTime
async def ask():
    real = RealTime(back_s=0.2)
    print(real.begin())
    show()
    {then}
    real.end()
    {after}
def show():
    print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)
{before}
asyncio.run(ask())
"""
_NOBODY = "resource.setrlimit(resource.RLIMIT_RTPRIO, ({most}, {most})); os.setgid(65534); os.setuid(65534)"
_BUSY = "until = time.monotonic() + {seconds}\n    while time.monotonic() < until: pass"


def said(then: str = "pass", before: str = "", after: str = "pass") -> list[str]:
    code = _BEGIN.format(then=then, before=before, after=after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    if "not allowed to raise maximum limit" in done.stderr:
        pytest.skip("here root may not grant it to another user (no CAP_SYS_RESOURCE)")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(autouse=True)
def _may() -> None:
    ask = "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"
    if os.getuid() or subprocess.run([sys.executable, "-c", ask], capture_output=True, check=False).returncode:
        pytest.skip("this user may not enter the real time class, nor grant it")


@pytest.mark.parametrize(("most", "granted"), [(0, False), (1, True)])
def test_it_is_entered_where_it_is_granted_and_nowhere_else(most: int, granted: bool) -> None:
    expected = ["True", str(os.SCHED_RR)] if granted else ["False", str(os.SCHED_OTHER)]
    assert said(before=_NOBODY.format(most=most)) == expected


@pytest.mark.parametrize("before", ["", _NOBODY.format(most=1)], ids=["root", "granted"])
def test_who_works_without_a_pause_shares_for_a_while(before: str) -> None:
    for_long = _BUSY.format(seconds=0.1) + "\n    show()\n    await asyncio.sleep(0.4)\n    show()\n    "
    rr, other = str(os.SCHED_RR), str(os.SCHED_OTHER)
    assert said(for_long * 2, before) == ["True", rr, other, rr, other, rr], "each time, not the first time alone"


def test_who_pauses_in_time_stays_in_it() -> None:
    often = (
        f"for _ in range(60):\n        await asyncio.sleep(0.001)\n        {_BUSY.format(seconds=0.003)}\n    show()"
    )
    often = often.replace("\n    while", "\n        while")
    assert said(often) == ["True", str(os.SCHED_RR), str(os.SCHED_RR)]


def test_who_has_ended_it_may_work_without_a_pause_and_without_its_handler() -> None:
    """As Python does when it ends: it puts the signal's default back, which kills."""
    after = "signal.signal(signal.SIGXCPU, signal.SIG_DFL); show()\n    " + _BUSY.format(seconds=0.2)
    assert said(after=after) == ["True", str(os.SCHED_RR), str(os.SCHED_OTHER)]
    assert said(_BUSY.format(seconds=0.1), after=after) == ["True", str(os.SCHED_RR), str(os.SCHED_OTHER)]


def test_nothing_that_it_starts_is_in_it() -> None:
    other = "thread = threading.Thread(target=show); thread.start(); thread.join()"
    assert said(other) == ["True", str(os.SCHED_RR), str(os.SCHED_OTHER)]


def test_a_thread_beside_the_main_one_never_enters_it() -> None:
    code = (
        "import asyncio, threading\nfrom fedi_safety.service.real_time import RealTime\n"
        "async def ask(): print(RealTime().begin())\n"
        "t = threading.Thread(target=lambda: asyncio.run(ask())); t.start(); t.join()"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"
