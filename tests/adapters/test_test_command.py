"""`./dev test` itself: what it takes, what it leaves out and says of it, and what a machine without a thing gets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support import needs, run, soak, workers
from support.needs import Choice
from support.servers import debian, prepare
from support.servers.debian import Unready, wait_unlocked
from support.share import Share

ROOT = Path(__file__).parents[2]

# Holds a lock as dpkg does, until its input ends.
_HOLDER = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(lock: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


# --- what it takes


@pytest.mark.parametrize(
    ("said", "servers", "others"),
    [
        ([], [], []),
        (["--servers", "s3,sftp"], ["s3", "sftp"], []),
        (["--servers=s3, sftp", "--servers", "pictrs"], ["s3", "sftp", "pictrs"], []),
        (["--all"], list(needs.SERVERS), []),
        (["tests/core", "-k", "x", "--servers", "s3", "-x"], ["s3"], ["tests/core", "-k", "x", "-x"]),
    ],
)
def test_servers_are_ours_and_the_rest_is_pytest_s(said: list[str], servers: list[str], others: list[str]) -> None:
    options, rest = run.chosen(said)
    assert (options.servers, rest) == (servers, others)


@pytest.mark.parametrize(("said", "word"), [("s4", "s4"), ("s3,", None), ("long", "long"), ("", "at least one")])
def test_a_server_that_nobody_knows_is_refused(said: str, word: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    if word is None:
        assert run.chosen(["--servers", said])[0].servers == ["s3"]
        return
    with pytest.raises(SystemExit) as ended:
        run.chosen(["--servers", said])
    assert ended.value.code == 2
    assert word in capsys.readouterr().err.splitlines()[-1]


def test_a_debugger_has_the_terminal_for_itself() -> None:
    assert run.jobs_of(["--pdb"]) == 0
    assert run.jobs_of([]) >= 1


def test_every_server_can_be_made_and_every_soak_is_there() -> None:
    assert prepare.STEPS.keys() == needs.SERVERS.keys()
    assert list(prepare.STEPS)[-1] == "pictrs"  # the longest last: the others' tests run meanwhile
    for name, found in soak.SOAKS.items():
        places = [place for place in found.tests if place.startswith("tests/")]
        assert places and all((ROOT / place).exists() for place in places), name


def test_a_soak_goes_on_from_a_number_and_ends_in_time() -> None:
    assert list(Share(full=True, seed=7, first=297).numbers(2, 300)) == [297, 298, 299]
    assert list(Share(full=False, seed=7).numbers(2, 300)) == [0, 1]
    assert list(Share(full=True, seed=7, within_s=0.0).numbers(2, 300)) == []


def test_each_page_that_names_a_soak_names_one_that_is_there() -> None:
    text = "".join(path.read_text("utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))
    named = {part.split()[0].strip("`.,;:)") for part in text.split("./dev soak ")[1:]}
    assert named - {"NAME"} <= soak.SOAKS.keys()


# --- what it leaves out

_SUITE = """
import pytest
from support.needs import needs

@pytest.fixture
@needs("s3")
def bucket():
    return 1

def test_free(): pass
def test_by_its_fixture(bucket): pass
@pytest.mark.quiet
def test_quiet(): pass
@pytest.mark.parametrize("kind", ["local", pytest.param("far", marks=pytest.mark.needs("sftp"))])
def test_of_two_kinds(kind): pass
@pytest.mark.long
@pytest.mark.needs("s3", "sftp")
def test_of_everything(): pass
@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", range(8))
def test_of_cases(case): pass
@pytest.mark.parametrize("kind", ["local", pytest.param("far", marks=pytest.mark.needs("nginx"))])
def test_case(kind, ran): ran.note(kind, "case")
@pytest.mark.needs("nginx")
def test_count(ran):
    assert ran.counts() == {"local": 1, "far": 1}
def test_examples():
    from hypothesis import settings
    assert settings.default.max_examples == 25
def test_that_forgot_to_say_so():
    from support import needs
    needs.started("sftp")
@pytest.mark.needs("curl")
def test_in_time():
    from pathlib import Path
    before = Path(__file__).with_name("before")
    if not before.exists():
        before.write_text("")
        raise AssertionError("the machine was busy")
"""


def suite(folder: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """Run a small suite under this project's conftest; return what pytest says, and the figures."""
    (folder / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text("utf-8"))
    (folder / "test_suite.py").write_text(_SUITE)
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}", "-v", "-n0"]
    command += ["--figures", str(folder / "figures.json"), "-p", "no:schemathesis", *options, str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}/tests"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    return done.stdout, json.loads((folder / "figures.json").read_text())


@pytest.mark.long
def test_a_run_leaves_out_what_needs_more_and_starts_nothing_unasked(tmp_path: Path) -> None:
    said, figures = suite(tmp_path, "--needs=s3", "--only=beside")
    passed = set(re.findall(r"::test_(\S+) PASSED", said))
    sampled = {f"of_cases[{number}]" for number in (0, 4, 7)}
    assert passed == {"free", "by_its_fixture", "of_two_kinds[local]", "examples", "case[local]"} | sampled
    assert re.findall(r"::test_(\S+) FAILED", said) == ["that_forgot_to_say_so"]
    assert "this test starts OpenSSH's sshd, and is not marked by needs('sftp')" in said
    assert figures["outcomes"] == {"passed": 8, "failed": 1, "deselected": 11}
    here = ["test_suite.py"]
    lacking = {"sftp": 2, "long": 6, "curl": 1, "nginx": 2}
    assert figures["left"] == {"needs": lacking, "tests": 10, "lacking": here, "alone": here}
    assert [name.rpartition("_")[2] for name in figures["failed"]] == ["so"]
    assert figures["timed"] == figures["failed"]
    assert len(figures["slowest"]) == 10
    (tmp_path / "test_whole.py").write_text("raise AssertionError('this was seen whole before')")
    said, figures = suite(tmp_path, "--needs=s3,sftp", "--had=s3", "--only=beside", "--files=test_suite.py")
    assert re.findall(r"::test_(\S+) PASSED", said) == ["of_two_kinds[far]"]


@pytest.mark.long
def test_cases_are_counted_over_all_parts_and_by_those_run_again(tmp_path: Path) -> None:
    named = tmp_path / "names"
    named.write_text("test_suite.py::test_count")
    again, notes = f"--again={named}", f"--ran={tmp_path / 'notes'}"
    for options in (["--needs="], ["--needs=nginx", "--had="], [again]):
        said, _ = suite(tmp_path, *options, notes)
        assert "test_count FAILED" not in said
    assert "test_count PASSED" in said
    said, _ = suite(tmp_path, again)
    assert "test_count FAILED" in said  # it counts what ran in this run alone


def test_a_later_part_looks_only_where_the_former_left_something(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    left = [
        {"needs": {"s3": 1}, "tests": 1, "lacking": ["a.py", "b.py"], "alone": ["c.py"]},
        {"needs": {}, "tests": 0, "lacking": [], "alone": ["b.py"]},
        {"needs": {}, "tests": 0, "lacking": [], "alone": []},
    ]

    def part(self: run.Parts, *arguments: str, jobs: int) -> dict[str, Any]:
        ran.append(" ".join(arguments))
        self.codes.append(0)
        return {"left": left[len(ran) - 1]}

    monkeypatch.setattr(run.Parts, "_run", part)
    parts = run.Parts([])
    parts.beside("first", jobs=2)
    assert parts.left == left[0]
    parts.beside("second", jobs=2)
    parts.by_themselves("last")
    assert ran == [
        *("first --only=beside", "second --only=beside --files=a.py,b.py", "last --only=alone --files=b.py,c.py"),
    ]
    assert parts.left == left[1]  # what the last part saw was not all


@pytest.mark.long
def test_what_has_to_do_with_time_is_tried_again_and_nothing_else(tmp_path: Path) -> None:
    rules = tmp_path / "tests/core"
    rules.mkdir(parents=True)
    (rules / "test_rules.py").write_text("def test_rule():\n    assert False\n")
    _, figures = suite(tmp_path, "--needs=curl", "-k", "in_time or rule")
    assert len(figures["failed"]) == 2
    assert [name.rpartition("::")[2] for name in figures["timed"]] == ["test_in_time"]
    (tmp_path / "again").write_text("\n".join(figures["timed"]))
    said, figures = suite(tmp_path, "--needs=curl", f"--again={tmp_path / 'again'}")
    assert re.findall(r"::test_(\S+) PASSED", said) == ["in_time"]
    assert figures["failed"] == []


@pytest.mark.parametrize(
    ("failed", "timed", "passed", "options", "code"),
    [
        (["a::one", "b::two"], {"a::one", "b::two"}, 2, [], 0),
        (["a::one", "a::one"], {"a::one"}, 1, [], 0),  # in its call, and as it ended
        (["a::one", "b::two"], {"a::one", "b::two"}, 1, [], 1),  # what is wrong fails twice
        (["a::one", "b::two"], {"a::one"}, None, [], 1),
        (["a::one"], {"a::one"}, None, ["--pdb"], 1),
        ([f"a::{n}" for n in range(run.MOST_AGAIN + 1)], {f"a::{n}" for n in range(99)}, None, [], 1),
    ],
)
def test_what_passes_alone_did_not_fail(
    monkeypatch: pytest.MonkeyPatch, failed: list[str], timed: set[str], passed: int | None, options: list[str],
    code: int,
) -> None:  # fmt: skip
    asked: list[tuple[str, ...]] = []

    def part(self: run.Parts, *arguments: str, jobs: int) -> dict[str, Any]:
        asked.append(arguments)
        (names,) = (Path(option.removeprefix("--again=")) for option in arguments if option.startswith("--again="))
        assert sorted(names.read_text().splitlines()) == sorted(set(failed)) and jobs == 0
        self.codes.append(0 if passed == len(set(failed)) else run.FAILED)
        return {"outcomes": {"passed": passed}}

    monkeypatch.setattr(run.Parts, "_run", part)
    parts = run.Parts(options)
    parts.codes, parts.failed, parts.timed = [0, run.FAILED, 0], list(failed), timed
    parts.outcomes["failed"] = len(failed)
    parts.again("--needs=s3")
    assert parts.code == code
    assert len(asked) == (passed is not None)
    assert parts.passed_again == ([] if code else sorted(set(failed)))
    assert parts.outcomes == ({"failed": len(failed)} if code else {"tried again": len(set(failed))})
    told = [f"failed once, passed alone: {name}" for name in parts.passed_again]
    assert [line for line in parts.text() if line.startswith("failed once")] == told
    assert [line for line in parts.text() if line.startswith("FAILED")] == ([] if told else
        [f"FAILED {name}" for name in parts.failed])  # fmt: skip


FREE, S3, BOTH = frozenset[str](), frozenset({"s3"}), frozenset({"s3", "sftp"})


@pytest.mark.parametrize(
    ("choice", "takes"),
    [
        (Choice(), {FREE, S3, BOTH}),
        (Choice(FREE), {FREE}),
        (Choice(S3), {FREE, S3}),
        (Choice(S3, FREE), {S3}),
        (Choice(BOTH, S3), {BOTH}),
        (Choice(BOTH, FREE), {S3, BOTH}),
        (Choice(BOTH, BOTH), set()),
        (Choice(frozenset({"sftp"})), {FREE}),
    ],
)
def test_parts_take_each_test_once(choice: Choice, takes: set[frozenset[str]]) -> None:
    for only, quiet in ((None, False), (None, True), ("beside", False), ("alone", True)):
        mine = replace(choice, only=only)
        assert {needed for needed in (FREE, S3, BOTH) if mine.takes(needed, quiet)} == takes
    for only, quiet in (("beside", True), ("alone", False)):
        assert not any(replace(choice, only=only).takes(needed, quiet) for needed in (FREE, S3, BOTH))


def test_with_servers_or_gates_time_is_real(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    from support import serving

    item = request.node
    assert needs.timed(item, FREE)
    monkeypatch.setattr(needs, "_AT_ONCE", ("tests/adapters/",))
    assert not needs.timed(item, FREE) and needs.timed(item, S3)
    monkeypatch.setattr(item.module, "gate", serving.gate, raising=False)
    assert needs.timed(item, FREE)


def test_a_need_that_nobody_knows_is_refused(request: pytest.FixtureRequest) -> None:
    item = request.node
    assert needs.of(item) == FREE
    item.add_marker(pytest.mark.needs("s4"))
    with pytest.raises(pytest.UsageError, match=r"needs s4, which support/needs\.py does not know"):
        needs.of(item)


def test_what_was_left_out_is_named_with_its_count_and_what_runs_it() -> None:
    lines = run.left_out({"needs": {"long": 3, "s3": 12}, "tests": 14})
    assert lines[0].startswith("not run: 14 tests")
    assert lines[1] == f"    12  s3          {needs.SERVERS['s3']}: ./dev test --servers s3"
    assert lines[2] == f"     3  long        {needs.GROUPS['long']}: ./dev test --all"
    assert lines[3].endswith("./dev parity")
    assert run.left_out({"needs": {}, "tests": 0}) == lines[3:]


# --- what a machine without a thing gets


def test_a_machine_without_apt_root_or_compilers_gets_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(debian, "path_of", lambda _program: None)
    monkeypatch.setattr(debian, "CACHE", tmp_path)
    monkeypatch.setattr("support.servers.s3._CACHE", tmp_path)
    monkeypatch.setattr("support.servers.pictrs._BINARY", tmp_path / "pict-rs")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run.main(["--all"]) == 2
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    takes_more = [name for name in needs.SERVERS if name not in ("mastodon-mock", "site")]  # which take Python alone
    assert len(lines) == len(takes_more)
    for name in takes_more:
        (line,) = [line for line in lines if line.startswith(f"./dev test: {name} (")]
        assert "cannot be had: " in line and "; " in line
    assert "sshd and ssh-keygen and ssh-agent and ssh-add are missing and this machine has no apt-get" in printed.out
    assert "Go is missing; install Go" in printed.out
    assert "mounting one takes root; run this as root" in printed.out


def test_without_root_apt_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "path_of", lambda _program: None)
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/usr/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Unready, match="nginx is missing and only root can install; as root: apt-get install nginx-l"):
        debian.check(["nginx"], "nginx-light")


def test_a_failed_build_is_one_line_and_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(debian, "CACHE", tmp_path)
    with pytest.raises(Unready, match=rf"make it failed: no such crate; see {tmp_path}/make-it.log"):
        debian.run(["sh", "-c", "echo trying; echo no such crate >&2; exit 1"], "make it")
    with pytest.raises(Unready, match=r"make it failed: .*no-such-program"):
        debian.run(["no-such-program"], "make it")


def test_what_fails_while_tests_run_is_said_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str, say: prepare.Say) -> None:
        if name == "s3":
            raise Unready("the network is down", "try again")
        say(f"prepared {name}")

    monkeypatch.setattr(prepare, "make", make)
    said: list[str] = []
    preparing = run.Preparing([], said.append)
    preparing.waiting = ["sftp", "s3"]
    preparing.hush(True)
    preparing._work()
    assert said == []
    preparing.hush(False)
    assert said == ["prepared sftp"]
    assert preparing.refusals == [f"s3 ({needs.SERVERS['s3']}) cannot be had: the network is down; try again"]
    assert preparing.waiting == []


@pytest.mark.parametrize("when", ["before", "while tests run"])
def test_without_a_dockerd_all_else_runs_and_the_last_line_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], when: str
) -> None:
    def check(name: str) -> bool:
        if name == "docker" and when == "before":
            raise Unready("dockerd does not start here: no cgroups", "run this where containers may run")
        return name != "docker"

    def make(name: str, _say: prepare.Say) -> None:
        raise Unready("dockerd does not start here: no cgroups", "run this where containers may run")

    ran: list[tuple[str, ...]] = []

    def part(self: run.Parts, *arguments: str, jobs: int) -> None:
        ran.append(arguments)
        self.codes.append(0)

    steps = {name: replace(step, check=partial(check, name)) for name, step in prepare.STEPS.items()}
    monkeypatch.setattr(prepare, "STEPS", steps)
    monkeypatch.setattr(prepare, "make", make)
    monkeypatch.setattr(run.Parts, "_run", part)
    assert run.main(["--all"]) == 0
    assert ran and all("docker" not in arguments[0] for arguments in ran)  # not run, and so not counted as passed
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("not run: what needs docker (") and "does not start here: no cgroups" in last
    assert run.main(["--servers", "docker"]) == run.MISUSE  # who asks for it by name is told that it cannot be


def test_a_locked_package_manager_is_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    lock = tmp_path / "lock-frontend"
    wait_unlocked([tmp_path / "none", lock], said.append)
    with held(lock) as holder:

        def heard(line: str) -> None:
            said.append(line)
            holder.kill()

        wait_unlocked([tmp_path / "none", lock], heard, every_s=0.05)
    assert len(said) == 1
    assert f"(process {holder.pid}), which locks {lock}: waiting up to 600 s" in said[0]


def test_the_wait_has_an_end(tmp_path: Path) -> None:
    said: list[str] = []
    lock = tmp_path / "lock"
    begun = time.monotonic()
    with held(lock), pytest.raises(Unready, match=f"which locks {lock}, and was not free in 0 s; wait for that"):
        wait_unlocked([lock], said.append, seconds=0.2, every_s=0.05)
    assert time.monotonic() - begun < 10


# --- how it ends


@pytest.mark.parametrize(
    ("codes", "options", "code", "over"),
    [
        ([0], [], 0, False),
        ([5], [], 5, False),
        ([5, 0], [], 0, False),
        ([0, 5], [], 0, False),
        ([1, 0], [], 1, False),
        ([1], ["-x"], 1, True),
        ([1], ["--maxfail=3"], 1, True),
        ([2], [], 2, True),
        ([4], [], 4, True),
    ],
)
def test_the_worst_of_all_parts_counts(codes: list[int], options: list[str], code: int, over: bool) -> None:
    parts = run.Parts(options)
    parts.codes = codes
    assert (parts.code, parts.over) == (code, over)


# --- how it forks its workers

_MODULE = """
import os
from pathlib import Path

from support import forked

FOLDER = Path(__file__).parent
with (FOLDER / "made").open("a") as made:
    made.write(f"{__name__} {os.getpid()}\\n")

def test_runs():
    (FOLDER / f"ran-{__name__}").write_text(f"{os.getpid()} {os.environ['PYTEST_XDIST_WORKER']}")
    (forks,) = forked._servers.values()
    (FOLDER / f"forks-{__name__}").write_text(str(os.fstat(forks.fileno()).st_ino))
    assert "two" not in __name__
"""


@pytest.mark.long
def test_the_modules_of_the_tests_are_made_once_for_all_workers(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(_MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ["-c", str(tmp_path / "pytest.ini"), "-p", "xdist", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}/tests", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with workers.forked_workers(options, 2, environment) as forking:
        command = [sys.executable, "-m", "pytest", *forking, "--dist", "load", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout, done
    made = dict(line.split() for line in (tmp_path / "made").read_text().splitlines())
    assert made.keys() == {"test_one", "test_two"}
    assert len((tmp_path / "made").read_text().splitlines()) == 2
    ran = dict((tmp_path / f"ran-{name}").read_text().split() for name in made)
    assert len(ran) == 2 and not ran.keys() & set(made.values())
    assert len({path.read_text() for path in tmp_path.glob("forks-*")}) == 1  # and what forks the program, too


def test_where_nothing_forks_a_worker_is_started(tmp_path: Path) -> None:
    code = f"from support import workers; workers.join({str(tmp_path / 'none')!r})"
    command = [sys.executable, "-S", "-c", code, "-u", "-c", "import sys; print(1); sys.exit(7)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": f"{ROOT}/tests"})
    assert (done.returncode, done.stdout) == (7, "1\n"), done
