"""Who answers goes before who computes: threads that step back, and what they start."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from fedi_safety.core.enums import MediaType
from fedi_safety.core.testcard import draw_test_card
from fedi_safety.media import SandboxDecoder
from fedi_safety.service.priority import come_first, leave_one, step_back, weigh_session
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


def test_a_thread_that_stepped_back_interrupts_nobody_when_it_wakes_up() -> None:
    def work() -> None:
        step_back()
        found.append(os.sched_getscheduler(threading.get_native_id()))

    found: list[int] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [os.SCHED_BATCH]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def slice_ns() -> int:
    """This thread's slice of a processor; 0 where the kernel does not say."""
    try:
        lines = Path("/proc/thread-self/sched").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[-1]) for line in lines if line.startswith("se.slice")), 0)


def test_a_thread_that_comes_first_has_short_slices_and_no_other_priority() -> None:
    before = (nice(), os.sched_getscheduler(0), slice_ns())
    found: list[tuple[int, int, int]] = []

    def work() -> None:
        come_first()
        found.append((nice(), os.sched_getscheduler(0), slice_ns()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0][:2] == before[:2] == (nice(), os.SCHED_OTHER)
    if tuple(map(int, platform.release().split(".")[:2])) < (6, 12) or not before[2]:
        pytest.skip("this kernel has no slices of their own for threads, or does not tell them")
    assert 0 < found[0][2] < 700_000, "one processor alone gives everybody 0.7 ms"
    assert slice_ns() == before[2]


def weight(pid: int) -> int | None:
    """What the session of this process weighs; `None` where the kernel weighs none.

    That is where the system has them off, and in a session that is older than the first one that was weighed.
    """
    words = Path(f"/proc/{pid}/autogroup").read_text().split()
    return int(words[-1]) if words else None


@pytest.mark.parametrize("leads", [True, False], ids=["a session of its own", "the session of who started it"])
def test_a_session_weighs_as_little_as_who_leads_it(leads: bool) -> None:
    if not Path("/proc/self/autogroup").exists() or os.getuid():
        pytest.skip("this kernel does not weigh sessions, or others may use up what may be said of them in a second")
    before = weight(os.getpid())
    ask = "import os; os.nice(7); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", ask], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=leads
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdout.readline()
        unweighed = weight(child.pid)
        weigh_session(child.pid)
        found = weight(child.pid)
        child.stdin.write(b"\n")
    assert found == (min(19, nice() + 7) if leads and unweighed is not None else before)
    assert weight(os.getpid()) == before, "its own session must weigh what it did"


@pytest.mark.parametrize("leads", [True, False], ids=["a session of its own", "the session of who started it"])
def test_a_service_has_its_session_weigh_as_little_as_its_threads_that_step_back(leads: bool) -> None:
    if not Path("/proc/self/autogroup").exists() or os.getuid():
        pytest.skip("this kernel does not weigh sessions, or others may use up what may be said of them in a second")
    before = weight(os.getpid())
    ask = ("from fedi_safety.service.priority import weigh_own_session; print(weigh_own_session()); "
           "print(*open('/proc/self/autogroup').read().split()[-1:])")  # fmt: skip
    command = [sys.executable, "-c", ask]
    done = subprocess.run(command, capture_output=True, check=True, text=True, start_new_session=leads)
    said, *found = done.stdout.split()
    if leads and not found:
        pytest.skip("this system has the weights of sessions off")
    assert (said, found) == (str(leads), [str(min(19, nice() + 5))] if leads else [str(before)] * (before is not None))
    assert weight(os.getpid()) == before, "the session of who started it must weigh what it did"


def test_a_thread_of_another_program_does_not_weigh_that_program() -> None:
    ask = ("import threading; from fedi_safety.service.priority import weigh_own_session as weigh; "
           "other = threading.Thread(target=lambda: print(weigh())); other.start(); other.join()")  # fmt: skip
    command = [sys.executable, "-c", ask]
    assert subprocess.run(command, capture_output=True, check=True, start_new_session=True).stdout == b"False\n"


def test_a_process_stands_aside_for_everything() -> None:
    ask = ("import os; from fedi_safety.service.priority import stand_aside; stand_aside(); "
           "print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))")  # fmt: skip
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True, text=True).stdout
    assert said.split() == [str(os.SCHED_IDLE), "19"]


def test_a_decoder_that_a_judge_starts_stays_behind_the_gate() -> None:
    """Its session is its own, so its niceness alone says nothing to the gate's session."""
    found: list[int | None] = []

    def work() -> None:
        step_back()
        with SandboxDecoder(jobs=1) as decoder:
            decoder.decode(draw_test_card(), MediaType.PNG)
            (child,) = {one.pid for one in psutil.Process().children()} - before
            found.append(weight(child))

    if not Path("/proc/self/autogroup").exists() or os.getuid():
        pytest.skip("this kernel does not weigh sessions, or the child's cannot be read")
    before = {one.pid for one in psutil.Process().children()}
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if found == [None]:
        pytest.skip("this system has the weights of sessions off")
    assert found == [min(19, nice() + 5)]


def test_the_judges_of_a_gate_step_back_before_its_event_loop(tmp_path: Path) -> None:
    """Else, under more uploads than there is time for, answers would be late that were there in time."""
    with gate(tmp_path) as g:
        assert g.upload(RED).status == 200
        engine, loop = g.serving._engine, g.thread.native_id
        assert engine is not None and loop is not None
        judges = [thread.native_id for thread in engine._threads]
        assert judges and all(judge is not None and nice(judge) > nice(loop) for judge in judges)


def test_a_thread_leaves_the_first_processor_with_all_that_it_starts_and_no_other_does() -> None:
    before = os.sched_getaffinity(0)
    left = set(sorted(before)[1:]) or before  # where there is one alone it is shared
    found: list[set[int]] = []

    def work() -> None:
        leave_one()
        thread = threading.Thread(target=lambda: found.append(os.sched_getaffinity(0)))
        thread.start()
        thread.join()
        ask = "import os; print(*os.sched_getaffinity(0))"
        said = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True).stdout
        found.append(set(map(int, said.split())))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [left, left]
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("before_a_server", [True, False])
def test_the_judges_of_a_gate_leave_a_processor_to_the_servers_that_it_stands_before(
    tmp_path: Path, before_a_server: bool
) -> None:
    whole = os.sched_getaffinity(0)
    upstream = {"m": {"url": "http://127.0.0.1:9", "kind": "mastodon"}} if before_a_server else {}
    with gate(tmp_path, upstream=upstream) as g:
        assert g.upload(RED).status == 200
        engine, loop = g.serving._engine, g.thread.native_id
        assert engine is not None and loop is not None
        judges = {thread.native_id or 0 for thread in engine._threads}
        expected = set(sorted(whole)[1:]) or whole if before_a_server else whole
        assert judges and all(os.sched_getaffinity(judge) == expected for judge in judges)
        assert os.sched_getaffinity(loop) == whole, "where nothing else answers, it does"
