"""Who answers goes before who computes: threads that step back, and what they start."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedi_safety.service.priority import step_back
from support.serving import RED, gate

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads have no priority of their own")


def nice(thread: int = 0) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread or threading.get_native_id())


def test_a_thread_steps_back_with_all_that_it_starts_and_no_other_does() -> None:
    before = nice()
    found: list[int] = []

    def child() -> None:
        found.append(nice())

    def work() -> None:
        step_back()
        thread = threading.Thread(target=child)
        thread.start()
        thread.join()
        ask = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"
        found.append(int(subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True).stdout))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert nice() == before
    assert found == [min(19, before + 5)] * 2


def test_a_process_stands_aside_for_everything() -> None:
    ask = ("import os; from fedi_safety.service.priority import stand_aside; stand_aside(); "
           "print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))")  # fmt: skip
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True, text=True).stdout
    assert said.split() == [str(os.SCHED_IDLE), "19"]


def test_the_judges_of_a_gate_step_back_before_its_event_loop(tmp_path: Path) -> None:
    """Else, under more uploads than there is time for, answers would be late that were there in time."""
    with gate(tmp_path) as g:
        assert g.upload(RED).status == 200
        engine, loop = g.serving._engine, g.thread.native_id
        assert engine is not None and loop is not None
        judges = [thread.native_id for thread in engine._threads]
        assert judges and all(judge is not None and nice(judge) > nice(loop) for judge in judges)
