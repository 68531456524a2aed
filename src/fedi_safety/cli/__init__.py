"""The command line. One file per command; nothing heavy is imported before a command runs.

Turns every error into one line on standard error and the exit code of docs/exit-codes.md; never shows a traceback
unless the log level is `debug`.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import NoReturn

import typer

from fedi_safety import __version__
from fedi_safety.cli.called import program_name
from fedi_safety.cli.completion_cmd import VARIABLE, complete
from fedi_safety.cli.predecessor.names import translated
from fedi_safety.cli.text.help import Command, Group, light_pages, task_of, with_words
from fedi_safety.cli.text.streams import ReaderGone, ends_unread, speak_utf8
from fedi_safety.cli.text.words import COMMANDS, GROUPS
from fedi_safety.core import coredumps
from fedi_safety.core.errors import ExitCode, FediSafetyError, printable
from fedi_safety.core.wording.hints import PROGRAM, Called, call, hint

_HERE = "fedi_safety.cli"
_HELP = ("--help", "-h")
_VERSION = "--version"
# By name: where the command stands. A group has its own commands, and stands as `commands`.
_COMMANDS = {
    "init": "setup.init_cmd:init",
    "gate-config": "setup.gate_config_cmd:gate_config",
    "scan": "scan_cmd:scan",
    "apply": "apply_cmd:apply",
    "watch": "watch_cmd:watch",
    "worker": "worker.commands:worker",
    "serve": "serve_cmd:serve",
    "report": "report.commands:report",
    "history": "report.history:history",
    "list": "list_cmd:list_objects",
    "show": "show_cmd:show",
    "try": "try_cmd:try_object",
    "trace": "trace_cmd:trace",
    "review": "review.commands:review",
    "confirm": "confirm_cmd:confirm",
    "dismiss": "dismiss_cmd:dismiss",
    "restore": "sealed.restore_cmd:restore",
    "unseal": "sealed.unseal_cmd:unseal",
    "hold": "sealed.keeping:hold",
    "release": "sealed.keeping:release",
    "filed": "sealed.keeping:filed",
    "evidence": "evidence.commands:evidence",
    "notify": "notify.commands:commands",
    "calibrate": "calibrate_cmd:calibrate",
    "policy": "policy_cmd:commands",
    "concepts": "concepts.commands:commands",
    "ledger": "ledger_cmd:commands",
    "hashes": "hashes.commands:commands",
    "models": "models.commands:commands",
    "import-ledger": "import_ledger_cmd:import_ledger",
    "fedi_safety_local_storage": "predecessor.commands:local_storage",
    "fedi_safety_object_storage": "predecessor.commands:object_storage",
    "fedi_safety_remote_storage": "predecessor.commands:remote_storage",
    "lemmy_safety_pictrs": "predecessor.commands:pictrs_worker",
    "doctor": "doctor_cmd:doctor",
    "self-test": "self_test_cmd:self_test",
    "completion": "completion_cmd:completion",
}
_GOES_ON = "interrupted; nothing is lost, and what was done is on record: the same command goes on from there"
# What has work to finish though nobody reads what it says; its exit code tells how that ended.
_WORK = frozenset(
    {"init", "scan", "apply", "watch", "worker", "serve", "confirm", "dismiss", "trace", "models", "import-ledger"}
    | {"calibrate", "hashes", "ledger", "doctor", "self-test", "restore", "hold", "release", "filed", "evidence"}
    | {"review"}
    | {"notify"}
    | {name for name, place in _COMMANDS.items() if place.startswith("predecessor")}
)
# Of that what leaves something behind where it is cut short.
_LASTING = _WORK - {"init", "calibrate", "ledger", "doctor", "self-test"}


def build(only: str | None = None) -> typer.Typer:
    """Return the program with all its commands, or with the one that is called, which is there sooner.

    For help on the whole, commands are their names and words alone: loading them takes a third of the time.
    """
    program = typer.Typer(
        name=PROGRAM,
        cls=Group,
        help="Keep illegal imagery off your fediverse server: scan, judge, remove, remember.",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": list(reversed(_HELP))},
    )

    def version(show: bool) -> None:
        if show:
            sys.stdout.write(f"fedi-safety {__version__}\n")
            raise typer.Exit

    @program.callback()
    def common(
        show: bool = typer.Option(False, _VERSION, help="Print the version and exit.", callback=version, is_eager=True),
    ) -> None:
        pass

    if only in _HELP or only == _VERSION:
        _named(program)
        return program
    for name in [only] if only in _COMMANDS else _COMMANDS:
        module, _, attribute = _COMMANDS[name].partition(":")
        command = getattr(import_module(f"{_HERE}.{module}"), attribute)
        task = task_of(name)
        if isinstance(command, typer.Typer):
            program.add_typer(with_words(command), name=name, rich_help_panel=task)
        else:
            hidden = module.startswith("predecessor")
            program.command(name, cls=Command, hidden=hidden, rich_help_panel=task)(command)
    return program


def _named(program: typer.Typer) -> None:
    """Give the program every command that is shown, by name and words; none does anything."""

    def nothing() -> None:
        pass

    for name, words in COMMANDS.items():
        program.command(name, cls=Command, help=words, rich_help_panel=task_of(name))(nothing)
    for name, words in GROUPS.items():
        group = typer.Typer(cls=Group, help=words)
        group.callback()(nothing)
        program.add_typer(group, name=name, rich_help_panel=task_of(name))


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the program and exit with its code."""
    ended: list[int] = []
    atexit.register(_leave, ended)  # the first to be registered is the last to be called
    speak_utf8()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _stop)  # as Ctrl-C; commands that have work in hand finish it first
    code = run(sys.argv[1:] if arguments is None else arguments, program_name())
    if code == ExitCode.INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one is for what still ends, and needs no words
        ended.append(code)
    gc.freeze()  # it goes as a whole: looking through it for garbage once more takes a twentieth of a short command
    sys.exit(code)


def _leave(ended: list[int]) -> None:
    """End an interrupted program with its own code.

    Where the interruption met code that is run from text (`exec`, as dataclasses and SQLAlchemy do while they are
    imported), CPython run by `-m` takes it for one that nobody handled, and kills itself by SIGINT at its very end.
    """
    if ended:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(ended[0])


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def run(arguments: list[str], name: str = PROGRAM) -> int:
    """Run one command and return its exit code. Writes errors as one line to standard error.

    `name` is what the program was called by, quoted for a shell: commands that a message tells to type begin with it.
    """
    before = call(Called(name))
    try:
        return _run(arguments)
    finally:
        call(before)
        gc.unfreeze()  # what a command left out of the search for garbage: whoever called may go on, and for long


def _run(arguments: list[str]) -> int:
    coredumps.forbid()
    if VARIABLE in os.environ:
        return complete(build())
    arguments = translated(arguments) or ["--help"]
    try:
        ends_unread(arguments[0] not in _WORK or arguments[-1] in _HELP)
        program = build(arguments[0])
        result = None
        if not _help_shown(program, arguments):
            result = program(args=arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except FediSafetyError as error:
        return _fail(error.line(), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _interrupted(arguments[0])
    except typer.Exit as error:
        return error.exit_code
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else PROGRAM
        text = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
        return _fail(f"{text}; see {_help_on(command)}", ExitCode.USAGE, command)
    except ReaderGone:
        return ExitCode.DONE
    except OSError as error:
        return _refused(error)
    except SystemExit as ended:  # how typer answers a connection that broke, which it takes for a reader
        return _bug(ended.__context__ or ended)
    except Exception as error:  # noqa: BLE001 - the outermost frame: a bug must not show media or a wall of text
        return _bug(error)
    return int(result) if isinstance(result, int) else ExitCode.DONE


def _interrupted(command: str) -> int:
    return _fail(_GOES_ON if command in _LASTING else "interrupted; nothing was changed", ExitCode.INTERRUPTED)


def _help_on(path: str) -> str:
    """Return the command that shows the help of a command, given as it is called here: `fedi-safety policy check`."""
    return hint(f"{path.removeprefix(PROGRAM)} --help".strip())


def _help_shown(program: typer.Typer, arguments: list[str]) -> bool:
    """Show the help of a command where nothing else is asked: parsing would load pydantic, a quarter of the time."""
    if arguments[-1] not in _HELP:
        return False
    command = typer.main.get_command(program)
    context = command.context_class(command, info_name=PROGRAM, **command.context_settings)
    for name in arguments[:-1]:
        inner = command.get_command(context, name) if isinstance(command, typer.core.TyperGroup) else None
        if inner is None:
            return False
        command, context = inner, inner.context_class(inner, info_name=name, parent=context, **inner.context_settings)
    with light_pages():
        sys.stdout.write(command.get_help(context) + "\n")
    return True


def _fail(text: str, code: ExitCode, command: str = PROGRAM) -> int:
    with suppress(ReaderGone):
        sys.stdout.flush()
    sys.stderr.write(f"{command}: {printable(text)}\n")
    return code


_RIGHTS = "run this as a user who may use it (its owner, or root), or name another"
_PLACES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), _RIGHTS),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR), "check its name"),
    errno.EROFS: "its file system is mounted read-only: name another place",
}


def _refused(error: OSError) -> int:
    """Say which place the system refuses to this user, whatever command it was named to; the rest is a bug."""
    remedy = _PLACES.get(error.errno or 0)
    if remedy is None or not isinstance(error.filename, str | bytes):
        return _bug(error)
    return _fail(f"{os.fsdecode(error.filename)}: {error.strerror}; {remedy}", ExitCode.USAGE)


def _bug(error: BaseException) -> int:
    import logging
    import traceback

    where = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    place = f" at {os.path.basename(where.filename)}:{where.lineno}" if where else ""  # noqa: PTH119
    logging.getLogger("fedi_safety").debug("internal error", exc_info=error)
    text = f"internal error: {type(error).__name__}: {error}{place}; nothing was removed without a record"
    return _fail(f"{text}; run with --log-level debug and report it", ExitCode.OUTSIDE)
