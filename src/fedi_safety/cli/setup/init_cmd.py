"""`init`: a first configuration, from four answers that are tried before anything is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell
from fedi_safety.core.errors import ConfigError, UsageError
from fedi_safety.core.sealing.law import Preset
from fedi_safety.core.wording.hints import Called, call, called, command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedi_safety.cli.setup.questions import Place
    from fedi_safety.cli.shell import Shell
    from fedi_safety.config.schema import Settings
    from fedi_safety.config.writing import FirstSettings


def init(
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="NAME", help="Whose media these are: lemmy, mastodon, ... or other."),
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", metavar="STORE", help="Where they are: a path or a URL.")
    ] = None,
    detectors: Annotated[
        str | None,
        typer.Option("--detectors", metavar="NAMES", help="Which detectors judge: embedded, or embedded,clip."),
    ] = None,
    act: Annotated[
        str | None,
        typer.Option(
            "--act",
            metavar="ACTION",
            help="What is done about condemned objects: report, delete, purge, or a preset, such as seal-and-hold.",
        ),
    ] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", metavar="KEY", help="A public key that opens sealed copies; may be repeated."),
    ] = None,
    vault: Annotated[
        str | None,
        typer.Option("--vault", metavar="PLACE", help="Where sealed copies are kept; left out, beside the ledger."),
    ] = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Ask four questions, try the answers, and write a configuration. Overwrites nothing, removes nothing.

    What an option says is not asked. Secrets are asked for, or come from the environment; no option takes them.
    """
    from fedi_safety.cli.setup import questions
    from fedi_safety.cli.setup.place import new_place, write_new
    from fedi_safety.config.writing import FirstSettings, first_config

    after = Called(called().program, config)  # the next commands read the ledger's place in the file
    call(after)
    place = new_place(config)
    sh = shell(os.devnull, ledger, log_level, quiet, yes)
    call(after)
    given = questions.Given(server, store, detectors, act)
    if given.missing and not sh.can_ask:
        cause = f"there is no terminal to ask on; not given: {', '.join(given.missing)}"
        raise UsageError("init", cause, "give them, or run it on a terminal")
    seal = questions.sealing(sh, recipient or (), vault)
    word = questions.server(sh, given.server)
    where = questions.store(sh, given.store, word)
    names = questions.detectors(sh, given.detectors)
    done, seal = questions.act(sh, given.act, where, seal)
    chosen = FirstSettings(
        word,
        where.written,
        names,
        done,
        ledger,
        where.secrets,
        where.from_variables,
        preset=done if done in list(Preset) else None,
        recipients=() if seal is None else seal.recipients,
        vault=None if seal is None else seal.vault,
    )
    loaded: list[Settings] = []
    write_new(
        place,
        first_config(chosen),
        secret=bool(chosen.secrets),
        check=lambda path: loaded.append(_loaded(path)),
    )
    sh.say(f"wrote {place}" + (", which only its owner can read: it has a secret" if chosen.secrets else ""))
    for line in _notes(chosen, loaded[0], where):
        sh.note(line)
    _say_next(sh, chosen, loaded[0])
    return 0


def _loaded(path: Path) -> Settings:
    """Load the file as every command will. Raises `ConfigError`, without the name that it has for a moment."""
    from fedi_safety.config.loading import load_settings

    try:
        return load_settings(str(path))
    except ConfigError as error:
        raise ConfigError("configuration", error.cause, error.remedy) from None


def _notes(chosen: FirstSettings, loaded: Settings, where: Place) -> Iterator[str]:
    """Yield what a person must know beside it."""
    from fedi_safety.config.locations import ledger_path, system_data, there

    act = chosen.act if chosen.preset is None else None
    for key, value in (("store", chosen.store), ("act", act), ("detectors", list(chosen.detectors))):
        if getattr(loaded, key) != value:
            yield f"note: `{key}` is {getattr(loaded, key)} all the same: a variable or .env says so, and wins"
    for key in chosen.from_variables:
        yield f"note: `{key}` is not in the file: it comes from a variable or .env, which every command needs"
    if chosen.server == "lemmy" and chosen.act == "delete" and where.target.owner is None:
        yield (
            "note: pict-rs is not told of what is deleted (docs/operations.md, pict-rs): rather take "
            "pictrs+http://host:8080 as the store, or set `pictrs.url` and `pictrs.api_key`, and purge"
        )
    if os.geteuid() == 0 and chosen.secrets:
        yield "note: a service of another user must be able to read it: give the file that user's group, and mode 640"
    if os.geteuid() == 0 and chosen.ledger is None and not there(system_data()):
        yield (
            f"note: the ledger will be {ledger_path(loaded)}; for a service, first make its directory: "
            f"install -d -m 700 -o USER {system_data()}"
        )


def _say_next(sh: Shell, chosen: FirstSettings, loaded: Settings) -> None:
    """Print the commands that come next, a line each, as they are to be pasted."""
    from fedi_safety.cli.models.offer import on_record
    from fedi_safety.config.locations import model_dir

    if "clip" in chosen.detectors and not on_record(loaded, model_dir(loaded.clip)):
        sh.say("next, fetch CLIP's model:")
        sh.say(command("models fetch"))
        sh.say("then judge everything, and remove nothing:")
    else:
        sh.say("next, judge everything, and remove nothing:")
    sh.say(command("scan --dry-run"))
