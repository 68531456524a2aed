"""`models optimize`: variants of a model in other number formats, each held against the original on pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.models.folder import ModelDirOption, directory, disk_errors
from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import Shell, shell, write_json
from fedi_safety.core.errors import UsageError
from fedi_safety.service.cpus import cpu_count

if TYPE_CHECKING:
    from fedi_safety.evaluation.agreement import Agreement


def optimize(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which model; left out, the configured one.")
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", metavar="P", help="int8, bf16 or fp16; repeatable. Left out: int8, on GPUs fp16."),
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option("--pictures", metavar="STORE", help="Whose pictures decide; left out, the configured store's."),
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, max=100_000, help="How many pictures are sampled.")] = 300,
    device: Annotated[str | None, typer.Option("--device", metavar="D", help="What the networks run on.")] = None,
    model_dir: ModelDirOption = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Make quicker variants of a model and compare them with it on your own pictures, before they are used."""
    from fedi_safety.models import variants
    from fedi_safety.models.folder import open_model_folder
    from fedi_safety.models.lock import only_writer, refuse_altered
    from fedi_safety.models.names import folder_name

    sh = shell(config, ledger, log_level, quiet, yes, device=device)
    models = directory(sh, model_dir)
    path = models / folder_name(name or sh.settings.clip.model)
    folder = open_model_folder(path)
    wanted = _wanted(precision, sh)
    with disk_errors(models), only_writer(models):
        refuse_altered(folder)
        for variant in wanted.values():
            sh.note(f"making {variant} ...")
            variants.make(folder, variant)
        compared = _compare(sh, path, list(wanted), pictures, sample)
        for asked, agreement in compared.items():
            variants.record(path, wanted[asked], agreement.as_json(), agreement.agrees)
    if json_output:
        found = {wanted[p]: {"agrees": a.agrees, **a.as_json()} for p, a in compared.items()}
        write_json({"model": path.name, "made": list(wanted.values()), "compared": found})
    elif compared:
        _print_agreement(sh, path.name, {wanted[p]: a for p, a in compared.items()})
    else:
        sh.say(f"made: {', '.join(wanted.values())}. Not compared, as there is no store: give --pictures.")
        sh.say("Until then it is used only where `clip.precision` names it.")
    return 0


def _wanted(precisions: list[str] | None, sh: Shell) -> dict[str, str]:
    """Return the precisions and the variant that each of them is here. Raises `UsageError`."""
    from fedi_safety.detectors.sessions.devices import choose_device, openvino_units

    device = choose_device(sh.settings.device)
    on_openvino = "CPU" in openvino_units()
    if device.unit and not device.on_processor:
        raise UsageError(
            f"device {device.name}", "OpenVINO makes what it needs of fp32 by itself", "nothing is to be done"
        )
    here = {"int8": "int8w" if on_openvino else "int8", "bf16": "bf16"} if device.on_processor else {"fp16": "fp16"}
    wanted = list(dict.fromkeys(precisions or [next(iter(here))]))
    for name in wanted:
        if name not in here:
            raise UsageError(f"precision {name!r}", f"not for {device.name}", f"use {' or '.join(here)}")
    if "bf16" in wanted and not on_openvino:
        raise UsageError("precision bf16", "is computed by OpenVINO alone", "install fedi-safety[openvino]")
    return {name: here[name] for name in wanted}


def _compare(sh: Shell, path: Path, wanted: list[str], pictures: str | None, sample: int) -> dict[str, Agreement]:
    """Return by precision how it agreed on a sample; nothing where there is no store."""
    from fedi_safety.app.engine import caps
    from fedi_safety.app.stores import named_store
    from fedi_safety.evaluation.frames import sample_frames
    from fedi_safety.evaluation.variants import compare_variants
    from fedi_safety.media import SandboxDecoder
    from fedi_safety.policies import load_policy

    settings = sh.settings
    if pictures is None and settings.store is None and not settings.stores:
        return {}
    policy = load_policy(settings.policy)
    store = named_store(settings, pictures)
    decoder = SandboxDecoder(caps(settings), settings.jobs or cpu_count())
    try:
        frames = sample_frames(store, decoder, sample, max_bytes=settings.limits.max_bytes)
        with _counting(sh, sample) as done:
            found = compare_variants(settings, path, wanted, frames, policy, done)
    finally:
        decoder.close()
        store.close()
    if not next(iter(found.values())).pictures:
        raise UsageError(store.url, "there is no picture in it", "name a store that has some with --pictures")
    return found


@contextmanager
def _counting(sh: Shell, total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("comparing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = sh.err
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.advance(task, count)


def _print_agreement(sh: Shell, model: str, compared: dict[str, Agreement]) -> None:
    from rich.table import Table

    from fedi_safety.evaluation.agreement import FEWEST_PICTURES

    for name, a in compared.items():
        table = Table(title=f"{model}: {name} beside fp32", show_header=False)
        for label, value in (
            ("pictures", f"{a.pictures:,}"),
            ("cosine of the embeddings, mean", f"{a.cosine_mean:.5f}"),
            ("cosine of the embeddings, least", f"{a.cosine_min:.5f}"),
            ("a concept's share moved by at most", f"{a.largest_change:.4f}"),
            ("pictures that pass a threshold in one of the two only", f"{a.crossings:,}"),
            ("pictures whose verdict differs", f"{a.flips:,}"),
        ):
            table.add_row(label, value)
        sh.out.print(table)
        if a.agrees:
            sh.say(f'{name} agrees: `clip.precision = "auto"` uses it from now on')
        elif a.pictures < FEWEST_PICTURES:
            sh.say(f"{name}: {a.pictures} pictures are too few to say that it agrees; it takes {FEWEST_PICTURES}")
        else:
            sh.say(f"{name} does NOT agree: it is used only where `clip.precision` names it")
