"""Shared by all tests: no configuration or ledger of the person who runs them, and the package for subprocesses.

Here tests are chosen by what they need as well (`--needs`, which `./dev test` gives), and the figures of a run kept.
"""

from __future__ import annotations

import gc
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from fedi_safety.core.notices.access import ACCESS
from fedi_safety.core.runs import ACTED_LOGGER
from fedi_safety.core.wording.hints import Called, call
from support import ledgers, needs
from support.cases import Ran
from support.program import ENVIRONMENT
from support.servers.postgresql import PostgresqlServer, newer, postgresql_server
from support.share import QUICK_SHARE, SEED, SOAK_TIMES, USUAL_EXAMPLES, Share

SRC = Path(__file__).parent.parent / "src"
KINDS = ("beside", "alone")
APART = ("tests/e2e/", "tests/invariants/")
CONFIGURING = (
    *("FEDI_SAFETY_", "FEDIVERSE_SAFETY_", "XDG_", "PICTRS_", "KNOWN_PICTRS_", "SQLITE_FILENAME", "AWS_"),
    *("OBJECT_STORAGE_", "SSH_HOSTNAME", "SSH_PORT", "SSH_USERNAME", "SSH_PRIVKEY", "SSH_PICTRS_"),
)
COLOURING = ("FORCE_COLOR", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "GITHUB_ACTIONS", "TTY_COMPATIBLE")
_FIGURES = pytest.StashKey[list[str]]()
_LEFT = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fedi-safety")
    group.addoption("--needs", metavar="NAMES", help="leave out what needs more than these (support/needs.py)")
    group.addoption("--had", metavar="NAMES", help="leave out what needs no more than these: it ran before")
    group.addoption("--only", choices=KINDS, help="what may run beside others, or what must run alone (`quiet`)")
    group.addoption("--files", metavar="FILES", help="collect no others: nothing else that is wanted is elsewhere")
    group.addoption(
        "--again", type=Path, metavar="FILE", help="run no others than the tests that it names, a line each"
    )
    group.addoption("--ran", type=Path, metavar="FOLDER", help="where the parts of one run note which cases ran")
    group.addoption("--figures", type=Path, metavar="FILE", help="write what came of the run into a file")
    group.addoption("--soak", action="store_true", help="large counts in full, instead of a share")
    group.addoption("--newer-postgresql", action="store_true", help="ledgers on the PostgreSQL of the Debian 13 root")
    group.addoption("--seed", type=int, default=SEED, help="what the shares are drawn by")
    group.addoption(
        "--first", type=int, default=0, help="a soak of sweeps or of interleavings: the number of what it begins with"
    )
    group.addoption("--within", type=float, metavar="SECONDS", help="and begin no further one after so long")


def pytest_configure(config: pytest.Config) -> None:
    if (SRC.parent / ".env").exists():
        raise pytest.UsageError(f"{SRC.parent / '.env'} configures what the tests start; move it away")
    config.stash[_FIGURES] = []
    config.stash[_LEFT] = {"needs": {}, "tests": 0, "lacking": [], "alone": []}
    os.umask(0o022)
    ledgers.share_compiled()
    # No deadline for an example: the machine may be busy.
    may = _names(config.option.needs)
    quick = may is not None and "long" not in may
    examples = USUAL_EXAMPLES * SOAK_TIMES if config.option.soak else USUAL_EXAMPLES // (QUICK_SHARE if quick else 1)
    hypothesis.settings.register_profile("fedi-safety", max_examples=examples, deadline=None)
    hypothesis.settings.load_profile("fedi-safety")


def _names(said: str | None) -> frozenset[str] | None:
    return None if said is None else frozenset(filter(None, said.split(",")))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Make no module of what a former part has seen whole."""
    files = _names(config.option.files)
    if files is None or collection_path.suffix != ".py":
        return None
    return None if str(collection_path.relative_to(config.rootpath)) in files else True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for, and mark where time is real: that may be tried again, alone.

    Everything else must pass at once, and so must a soak, in which each failure is one of many cases.
    """
    needs.sample(items)
    option = config.option
    again = None if option.again is None else frozenset(option.again.read_text().splitlines())
    choice = needs.Choice(_names(option.needs), _names(option.had), option.only)
    left: Counter[str] = Counter()
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    tests = 0
    lacking: set[str] = set()
    alone: set[str] = set()
    for item in items:
        needed, quiet = needs.of(item), item.get_closest_marker("quiet") is not None
        lacks = choice.lacking(needed)
        left.update(lacks)
        tests += bool(lacks)
        if lacks or quiet:
            (lacking if lacks else alone).add(item.nodeid.partition("::")[0])
        wanted = choice.takes(needed, quiet) and (again is None or item.nodeid in again)
        (chosen if wanted else others).append(item)
        if needs.timed(item, needed) and not option.soak:
            item.user_properties.append(needs.TIMED)
    config.stash[_LEFT] = {"needs": dict(left), "tests": tests, "lacking": sorted(lacking), "alone": sorted(alone)}
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen


def pytest_collection_finish() -> None:
    """Have no search for garbage look at all that a run keeps: that would be a twentieth of its time."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file's tests in one process, for they share what they make; but not those that start the program anew."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith(APART) else super()._split_scope(nodeid)

    return Scheduling(config, log) if config.option.dist == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let nothing start that the test did not say it needs."""
    needs.begin(needs.of(item))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that all others report to what was left out: it collects nothing itself."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["left"] = session.config.stash[_LEFT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take that from a process that ends."""
    node.config.stash[_LEFT] = getattr(node, "workeroutput", {}).get("left", node.config.stash[_LEFT])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures of a soak, and write those of the run into the file that was asked for."""
    if config.stash[_FIGURES]:
        terminalreporter.section("figures")
        for line in config.stash[_FIGURES]:
            terminalreporter.write_line(line)
    if config.option.figures is not None:
        reports = {name: found for name, found in terminalreporter.stats.items() if name}
        seen = [report for found in reports.values() for report in found if hasattr(report, "duration")]
        seen += [report for report in terminalreporter.stats.get("", ()) if hasattr(report, "duration")]
        failed = [report for name in ("failed", "error") for report in reports.get(name, ())]
        figures = {
            "outcomes": {name: len(found) for name, found in reports.items()},
            "failed": [str(report.nodeid) for report in failed],
            "timed": [str(report.nodeid) for report in failed if needs.failed_in_time(report)],
            "slowest": sorted(((r.duration, f"{r.when} {r.nodeid}") for r in seen), reverse=True)[:10],
            "left": config.stash[_LEFT],
        }
        config.option.figures.write_text(json.dumps(figures))


@pytest.fixture(scope="session")
def share(pytestconfig: pytest.Config) -> Iterator[Share]:
    """How much of a large count is done, by which seed, and where its figures go."""
    option = pytestconfig.option
    made = Share(option.soak, option.seed, option.first, option.within)
    yield made
    pytestconfig.stash[_FIGURES].extend(made.figures)


@pytest.fixture(scope="module")
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Which cases of this file's contract ran, in this part of a run and in those before."""
    folder = request.config.option.ran or tmp_path_factory.getbasetemp() / "ran"
    return Ran(folder / request.module.__name__)


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test an empty home directory of its own and nothing of what a machine or a person happens to set."""
    home = tmp_path / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(CONFIGURING) or name in COLOURING:
            monkeypatch.delenv(name)
    for name in ("no_proxy", "NO_PROXY"):  # a proxy is for the world, not for what the tests start
        monkeypatch.setenv(name, "localhost,127.0.0.1,::1")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("FEDI_SAFETY_ROOT", str(tmp_path / "root"))  # no /etc and no /var/lib of this machine
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(home)
    return home


@pytest.fixture(autouse=True)
def nothing_heard() -> None:
    """Let no test be told of credentials that were refused in another one."""
    ACCESS.forget()


@pytest.fixture(autouse=True)
def called_by_its_name() -> Iterator[None]:
    """Have the commands that messages tell to type begin as ever, whatever a test called the program with before."""
    before = call(Called())
    yield
    call(before)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Let the next test hear what is logged, whatever the program set, called in this process.

    The handler that it made writes to this test's standard error, which is closed when the next one begins.
    """
    loggers = {logger: logger.level for logger in map(logging.getLogger, (None, "fedi_safety", ACTED_LOGGER))}
    before = set(logging.root.handlers)
    yield
    for logger, level in loggers.items():
        logger.setLevel(level)
    for handler in [each for each in logging.root.handlers if type(each) is logging.StreamHandler]:
        if handler not in before:
            logging.root.removeHandler(handler)


@pytest.fixture(scope="session")
def ledger_server(pytestconfig: pytest.Config) -> Iterator[PostgresqlServer]:
    """One PostgreSQL for the ledgers of a whole run; it starts with the first test that asks for it by its name."""
    with postgresql_server(newer() if pytestconfig.option.newer_postgresql else None) as server:
        yield server


@pytest.fixture(params=ledgers.PARAMETERS)
def ledger_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Path]:
    """Where a new ledger lies that is not made yet, on each kind of database that there is: a path or a URL."""
    with ledgers.place_of(str(request.param), tmp_path, request) as place:
        yield place


@pytest.fixture
def opener(ledger_place: str | Path) -> Iterator[ledgers.Opener]:
    """Open the test's ledger, on each kind of database that there is."""
    with ledgers.opened_at(ledger_place) as opener:
        yield opener
