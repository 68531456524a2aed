"""What the predecessor's users type is taken, or refused by its name; everybody else's words stay as they are."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from unittest.mock import patch

import pytest

from fedi_safety.cli import run
from fedi_safety.cli.predecessor import commands
from fedi_safety.cli.predecessor.names import translated
from fedi_safety.cli.shell import shell
from fedi_safety.core.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("fedi_safety_local_storage.py --all", "fedi_safety_local_storage --all"),
        ("lemmy_safety_local_storage.py --all", "fedi_safety_local_storage --all"),
        ("lemmy_safety_object_storage", "fedi_safety_object_storage"),
        ("lemmy_safety_remote_storage -m 5", "fedi_safety_remote_storage -m 5"),
        ("lemmy_safety_pictrs.py --thr 3", "lemmy_safety_pictrs --threads 3"),
        ("api_server.py --ins --po=14051", "serve --insecure --port=14051"),
        ("fedi_safety_local_storage --dry --s --pre=a --pre b", None),
        ("scan --dry", "scan --dry"),
        ("scan.py", "scan.py"),
        ("serve --ins", "serve --ins"),
        ("fedi_safety_local_storage --dry-run -- --al", "fedi_safety_local_storage --dry-run -- --al"),
        ("", ""),
    ],
)
def test_names_and_options(typed: str, meant: str | None) -> None:
    full = "fedi_safety_local_storage --dry_run --skip_unreadable --prefix=a --prefix b"
    assert translated(typed.split()) == (full if meant is None else meant).split()


def test_options_are_cut_short_as_argparse_has_it() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    for option in ("--all", "--dry_run", "--skip_unreadable"):
        parser.add_argument(option, action="store_true")
    for option in ("--threads", "--minutes", "--prefix"):
        parser.add_argument(option)
    for option in ("--all", "--dry_run", "--skip_unreadable", "--threads", "--minutes", "--prefix"):
        for end in range(3, len(option) + 1):
            value = ["x"] if option in ("--threads", "--minutes", "--prefix") else []
            typed = [option[:end], *value]
            with contextlib.suppress(argparse.ArgumentError):
                taken = parser.parse_args(typed)
                assert translated(["fedi_safety_local_storage", *typed])[1:] == [option, *value], taken


@pytest.mark.parametrize("options", [["-v"], ["--color"], ["--nothing"]])
def test_what_is_not_taken_is_refused_by_its_name(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fedi_safety_local_storage.py", *options]) == 2
    assert f"No such option: {options[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("threads", [0, 1, 20])
@pytest.mark.parametrize("script", [commands.local_storage, commands.pictrs_worker])
def test_its_threads_make_no_more_processes_than_cores(
    script: Callable[..., int], threads: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        patch.object(commands, "cpu_count", lambda: 4),
        patch.object(commands, "shell", wraps=shell) as asked,
        pytest.raises(UsageError, match="is not set"),
    ):
        script(threads=threads)
    assert asked.call_args.kwargs["jobs"] == {0: None, 1: 1, 20: 4}[threads]
    assert ("there will be 4" in capsys.readouterr().err) == (threads == 20)
