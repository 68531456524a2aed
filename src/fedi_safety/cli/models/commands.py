"""`models list|fetch|import|export|verify|optimize`: CLIP models on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.models.folder import ModelDirOption, directory, disk_errors
from fedi_safety.cli.models.optimize import optimize
from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import Shell, shell, write_json
from fedi_safety.core.errors import ExitCode, FediSafetyError, UsageError
from fedi_safety.core.wording.hints import command, hint
from fedi_safety.service.cpus import cpu_count

if TYPE_CHECKING:
    from fedi_safety.models.folder import ModelFolder
    from fedi_safety.models.lock import Locked

_UNRECORDED = "not on record"

commands = typer.Typer(help="Fetch, import, check and speed up the models of the detector `clip`.")

ReplaceOption = Annotated[bool, typer.Option("--replace", help="Take the place of another model of that name.")]


@commands.command("list")
def list_models(
    known: Annotated[bool, typer.Option("--known", help="Show those that can be fetched by name, too.")] = False,
    model_dir: ModelDirOption = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Show the models that are here, where they came from and their variants, or some that can be fetched."""
    from fedi_safety.models.names import KNOWN

    sh = shell(config, ledger, log_level, quiet, yes)
    models = directory(sh, model_dir)
    rows = [_describe(models / name, entry, sh) for name, entry in _present(models)]
    if json_output:
        names = [{"name": m.name, "pixels": m.pixels, "mb": m.download_mb, "gflop": m.gflop} for m in KNOWN]
        write_json({"directory": str(models), "models": rows, "known": names})
        return 0
    from rich.table import Table

    if rows:
        table = Table(title=f"models in {models}")
        for heading in ("model", "pixels", "MB", "from", "variants", ""):
            table.add_column(heading, justify="right" if heading in ("pixels", "MB") else "left", overflow="fold")
        for row in rows:
            name = f"{row['name']} *" if row["configured"] else row["name"]
            variants = ", ".join(f"{n}{'' if ok else ' (not shown to agree)'}" for n, ok in row["variants"].items())
            table.add_row(name, str(row["pixels"]), f"{row['mb']:,}", row["source"], variants, row["wrong"])
        sh.out.print(table)
        if any(row["configured"] for row in rows):
            sh.say("* is the configured one.")
        if any(row["wrong"] == _UNRECORDED for row in rows):
            sh.say(f"To put a model on record: {command('models import DIR')}")
    else:
        sh.say(f"no model in {models}")
    offered = Table(title="some that a hub has")
    for heading in ("model", "pixels", "MB", "GFLOP", ""):
        offered.add_column(heading, justify="left" if heading in ("model", "") else "right", no_wrap=heading == "model")
    for m in KNOWN:
        offered.add_row(m.name, str(m.pixels), f"{m.download_mb:,}", str(m.gflop), m.note)
    if known or not rows:
        sh.out.print(offered)
        sh.say(f"To get one: {command('models fetch NAME')}")
        sh.say("Any owner/name of a hub is taken too, if it has Immich's layout.")
    return 0


@commands.command("fetch")
def fetch_model(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A name or owner/name; left out, the configured one is offered."),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision", metavar="REV", help="A branch, tag or commit; left out, the recorded one, at first main."
        ),
    ] = None,
    trust_first: Annotated[
        bool,
        typer.Option(
            "--trust-first", help="Take files of which no digest is on record, and hold every later fetch to them."
        ),
    ] = False,
    hub: Annotated[
        str | None, typer.Option("--hub", metavar="URL", help="The hub; left out, the configured one.")
    ] = None,
    model_dir: ModelDirOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Get a model from a hub, check every byte, and record what it hashes to. Goes on where it was interrupted."""
    from fedi_safety.cli.models import offer
    from fedi_safety.clients.hub import Hub
    from fedi_safety.models.fetch import NotTrusted, fetch

    sh = shell(config, ledger, log_level, quiet, yes, clip={"hub": hub})
    models = directory(sh, model_dir)
    if name is None:
        offer.agreed(sh, models)
    client = Hub(sh.settings.clip.hub, token=os.environ.get("HF_TOKEN") or None)
    try:
        with disk_errors(models), _fetching(sh) as watcher:
            got = fetch(name or sh.settings.clip.model, models, client, watcher, revision, trust_first=trust_first)
    except NotTrusted as error:
        for file in error.stated:
            kind, digest = ("sha256", file.sha256) if file.sha256 else ("git-sha1", file.git_sha1)
            sh.say(f"the hub states {kind} {digest}  {file.path}")
        raise
    finally:
        client.close()
    if got.brought == 0:
        sh.say(f"{got.path.name}: already here, every byte as recorded ({got.source} at {got.revision[:12]})")
    else:
        sh.say(f"{got.path.name}: {got.brought} files from {got.source} at {got.revision[:12]}, in {got.path}")
    for path, sha256 in got.first.items():
        sh.say(f"recorded sha256 {sha256}  {path}")
    if got.changed:
        sh.note(
            f"another revision lay here before: {hint('models optimize {}', got.path.name)} makes its variants anew"
        )
    if got.brought and (how := offer.turn_on(sh.settings, got.path.name)):
        sh.say(how)
    return 0


@commands.command("import")
def import_model(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder in Immich's layout, or a copy descriptor's.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What it is to be called; left out, as the folder is.")
    ] = None,
    replace: ReplaceOption = False,
    model_dir: ModelDirOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Take a model from a folder, without any network, and record what it hashes to."""
    from fedi_safety.config.locations import expanded
    from fedi_safety.models.importing import import_folder

    sh = shell(config, ledger, log_level, quiet, yes)
    models = directory(sh, model_dir)
    with disk_errors(models):
        path = import_folder(expanded(folder), models, name, replace=replace)
    sh.say(f"{path.name}: in {path}")
    return 0


@commands.command("export")
def export_model(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="open_clip's architecture and weights, as in ViT-L-14__openai.")
    ],
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="FILE", help="A file of weights, instead of open_clip's own.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Weights that know nothing, for measuring speed.")
    ] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", metavar="DIR", help="A folder with tokenizer.json, for models other than OpenAI's."
        ),
    ] = None,
    replace: ReplaceOption = False,
    model_dir: ModelDirOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Make a model from open_clip weights. Needs the extra `export`, which brings torch."""
    from fedi_safety.config.locations import expanded
    from fedi_safety.models.exporting import Weights, export

    sh = shell(config, ledger, log_level, quiet, yes)
    architecture, _, tag = name.partition("__")
    if weights is None and not random_weights and not tag:
        raise UsageError(name, "names no weights", "write it as ViT-L-14__openai, or give --weights FILE")
    chosen = Weights(
        tag=tag or None,
        file=expanded(weights) if weights else None,
        seed=0 if random_weights else None,
    )
    models = directory(sh, model_dir)
    folder = expanded(tokenizer) if tokenizer else None
    with disk_errors(models):
        path = export(architecture, chosen, models, name, folder, replace=replace)
    sh.say(f"{path.name}: in {path}")
    return 0


@commands.command("verify")
def verify_models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Which models; left out, all that are here.")
    ] = None,
    model_dir: ModelDirOption = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Check every byte against the record, then run each network and its tokenizer once."""
    from fedi_safety.models.names import folder_name

    sh = shell(config, ledger, log_level, quiet, yes)
    models = directory(sh, model_dir)
    entries = dict(_present(models))
    chosen = [folder_name(n) for n in names] if names else list(entries)
    if not chosen:
        raise UsageError("models verify", f"there is no model in {models}", f"see {hint('models fetch')}")
    findings = [(name, *_verify(models / name, entries.get(name), sh)) for name in chosen]
    if json_output:
        write_json({"models": [{"name": n, "wrong": wrong, "detail": d} for n, wrong, d in findings]})
    else:
        for name, wrong, detail in findings:
            sh.say(f"{'WRONG' if wrong else 'ok   '} {name}: {'; '.join(wrong) or detail}")
    return ExitCode.USAGE if any(wrong for _, wrong, _ in findings) else ExitCode.DONE


# --- what `list` and `verify` say


def _present(models: Path) -> Iterator[tuple[str, Locked | None]]:
    """Yield the models that are in the directory or on record, by name."""
    from fedi_safety.models.folder import CONFIG
    from fedi_safety.models.lock import read_lock

    lock = read_lock(models)
    folders = {p.name for p in models.iterdir() if (p / CONFIG).is_file()} if models.is_dir() else set()
    for name in sorted({*lock, *(f for f in folders if not f.startswith("."))}):
        yield name, lock.get(name)


def _describe(path: Path, entry: Locked | None, sh: Shell) -> dict[str, Any]:
    from fedi_safety.models.descriptor import is_descriptor, open_descriptor_folder
    from fedi_safety.models.folder import open_model_folder

    row: dict[str, Any] = {
        "name": path.name,
        "configured": path.name in (sh.settings.clip.model, sh.settings.known.near),
        "pixels": None,
        "mb": round(sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) / 1e6) if path.is_dir() else 0,
        "source": f"{entry.source} {entry.revision[:12]}".strip() if entry else "",
        "variants": {},
        "wrong": "" if entry else _UNRECORDED,
    }
    try:
        if is_descriptor(path):
            return {**row, "pixels": open_descriptor_folder(path).size}
        folder = open_model_folder(path)
    except FediSafetyError as error:
        return {**row, "wrong": error.line()}
    agree = {name: entry.get("agrees") is True for name, entry in folder.variants.items()}
    return {**row, "pixels": folder.config["vision_cfg"].get("image_size"), "variants": agree}


def _verify(path: Path, entry: Locked | None, sh: Shell) -> tuple[list[str], str]:
    """Return what is wrong with a model, and what there is to say if nothing is."""
    from fedi_safety.models.descriptor import is_descriptor
    from fedi_safety.models.folder import FULL, open_model_folder
    from fedi_safety.models.lock import altered

    wrong = [f"{file} is missing or altered" for file in (altered(path, entry) if entry else [])]
    parts: list[str] = []
    try:
        if is_descriptor(path):
            parts = [] if wrong else [_describe_once(path, sh)]
        else:
            folder = open_model_folder(path)
            parts = [] if wrong else [_run_once(folder, precision, sh) for precision in (FULL, *_precisions(folder))]
    except FediSafetyError as error:
        wrong.append(error.line())
    record = (
        f"{len(entry.files)} files as recorded" if entry else f"NOT on record: {hint('models import DIR')} records it"
    )
    return wrong, "; ".join([record, *parts])


def _describe_once(path: Path, sh: Shell) -> str:
    """Run a picture through a copy descriptor. Raises what is wrong."""
    from fedi_safety.detectors.known.descriptor import CopyDescriptor
    from fedi_safety.detectors.sessions.devices import choose_device
    from fedi_safety.models.descriptor import open_descriptor_folder

    CopyDescriptor(open_descriptor_folder(path), 0, choose_device(sh.settings.device), cpu_count())
    return "a copy descriptor, runs"


def _precisions(folder: ModelFolder) -> list[str]:
    """Return what `clip.precision` has to say for the folder's variants to run."""
    from fedi_safety.models.variants import INT8

    return list(dict.fromkeys("int8" if variant in INT8 else variant for variant in folder.variants))


def _run_once(folder: ModelFolder, precision: str, sh: Shell) -> str:
    """Run a picture through a network, and with the original a text too. Raises what is wrong."""
    from fedi_safety.core.types import Frame
    from fedi_safety.detectors.clip.folder import plan_model
    from fedi_safety.detectors.clip.towers import TextualTower, VisualTower
    from fedi_safety.detectors.sessions.devices import choose_device
    from fedi_safety.models.folder import FULL

    device = choose_device(sh.settings.device)
    plan = plan_model(folder.path, device, precision)
    tower = VisualTower(plan, device, threads=cpu_count())
    try:
        tower.embed([Frame(0, 32, 32, bytes(3 * 32 * 32))])
    finally:
        tower.close()
    if precision == FULL:
        TextualTower(folder, 1).embed(["a picture"])
    return f"{plan.variant} runs ({plan.runtime})"


# --- what `fetch` shows


class _Watcher:
    """Moves a progress bar while a model is fetched."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress = progress
        self._task = task

    def begins(self, repository: str, commit: str, total_bytes: int) -> None:
        """Say what is fetched."""
        self._progress.update(self._task, total=total_bytes, description=f"{repository} at {commit[:12]}")

    def file(self, path: str) -> None:
        """Say which file is next."""
        self._progress.update(self._task, file=path)

    def bytes(self, count: int) -> None:
        """Move on."""
        self._progress.advance(self._task, count)


@contextmanager
def _fetching(sh: Shell) -> Iterator[_Watcher]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[file]}"),
    )
    console = sh.err
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Watcher(progress, progress.add_task("asking the hub", total=None, file=""))


# --- what `optimize` measures


commands.command()(optimize)
