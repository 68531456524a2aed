"""`concepts list|check|try|learn`: what the detector `clip` looks for, before it is used."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.concepts.learn import learn
from fedi_safety.cli.options import (
    ConceptsOption,
    ConfigOption,
    JsonOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    YesOption,
)
from fedi_safety.cli.shell import Shell, shell, write_json
from fedi_safety.core.errors import ExitCode, Unscannable, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedi_safety.concepts import ConceptSet
    from fedi_safety.core.types import Decoded

commands = typer.Typer(help="List, check, try and learn: what the detector `clip` looks for.")

ConceptsArgument = Annotated[
    str | None,
    typer.Argument(metavar="NAME|FILE", help="`default` or a file of concepts; left out, the configured ones."),
]


@commands.command("list")
def list_concepts(
    concepts: ConceptsArgument = None,
    prompts: Annotated[bool, typer.Option("--prompts", help="Also print every prompt.")] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Print the concepts of a file: their signals, how many prompts each has, and which rules ask for them."""
    from fedi_safety.policies import load_policy

    sh = shell(config, ledger, log_level, quiet, yes)
    found = _load(sh, concepts)
    policy = load_policy(sh.settings.policy)
    asked = {
        signal: [r.name for r in policy.rules if any(signal in policy.factors[f] for f in (*r.when, *r.review_if))]
        for signal in found.signals
    }
    if json_output:
        write_json(_as_json(found, asked))
        return 0
    sh.say(f"concepts {found.name}: {len(found.concepts)} signals, {len(found.prompts):,} texts")
    for concept in found.concepts:
        counts = f"{len(concept.positive)} positive, {len(concept.negative)} negative prompts"
        rules = _rules(asked[concept.signal])
        sh.say(f"{concept.signal}: {counts} in {len(concept.templates)} templates; rules of the policy: {rules}")
        if prompts:
            for sign, texts in (("+", concept.positive), ("-", concept.negative)):
                for text in texts:
                    sh.say(f"  {sign} {text}")
    for head in found.heads:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in head.contents.items())
        sh.say(f"{head.signal}: learned on {head.learned_on} from {counts}; rules of the policy: "
               f"{_rules(asked[head.signal])}")  # fmt: skip
    return 0


@commands.command()
def check(
    concepts: ConceptsArgument = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Say whether a concept file is valid, every mistake with its line, and what in the policy does not match it."""
    from fedi_safety.concepts import PREFIX
    from fedi_safety.detectors import concept_detectors
    from fedi_safety.policies import load_policy

    sh = shell(config, ledger, log_level, quiet, yes)
    found = _load(sh, concepts)
    sh.say(f"{found.name}: valid, {len(found.concepts)} concepts, {len(found.prompts):,} texts")
    policy = load_policy(sh.settings.policy)
    named = {s for signals in policy.factors.values() for s in signals if s.startswith(PREFIX)}
    for signal in sorted(named.difference(found.signals)):
        sh.say(f"  note: policy {policy.name} names {signal}, which is not among them: it counts as 0")
    for signal in sorted(set(found.signals) - policy.signals):
        sh.say(f"  note: no rule of policy {policy.name} asks for {signal}")
    for name in concept_detectors():
        if name not in sh.settings.detectors:
            sh.say(f"  note: the detector {name} is not among `detectors`: nothing measures them")
    return 0


@commands.command("try")
def try_image(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture of your own. It is not shown or kept.")],
    concepts: ConceptsOption = None,
    device: Annotated[str | None, typer.Option("--device", help="What the network runs on: auto, cpu, ...")] = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Show each concept's share for a picture, highest first. The picture is decoded as in a scan, and forgotten."""
    from fedi_safety.app.engine import caps
    from fedi_safety.core.types import Evidence
    from fedi_safety.detectors import concept_detectors, open_detectors
    from fedi_safety.media import SandboxDecoder

    sh = shell(config, ledger, log_level, quiet, yes, device=device, clip={"concepts": concepts})
    data = _read(image, sh.settings.limits.max_bytes)
    decoder = SandboxDecoder(caps(sh.settings), 1)
    try:
        decoded: Decoded = decoder.decode(data, decoder.sniff(data[:4096]))
        alone = sh.settings.model_copy(update={"detectors": list(concept_detectors())})
        (detector,) = open_detectors(alone).frames
        scored = detector.score([Evidence(frame) for frame in decoded.frames])
    except Unscannable as error:
        raise UsageError(image, str(error), "try another picture") from error
    finally:
        decoder.close()
    best = {s: max((found.signals[s], -i) for i, found in enumerate(scored)) for s in detector.signals}
    ranked = sorted(((share, signal, -at) for signal, (share, at) in best.items()), reverse=True)
    if json_output:
        shares = [{"signal": signal, "share": share, "frame": frame} for share, signal, frame in ranked]
        write_json({"detector": detector.version, "frames": len(scored), "shares": shares})
        return ExitCode.DONE
    width = max(len(signal) for _, signal, _ in ranked)
    for share, signal, frame in ranked:
        where = f"  frame {frame}" if len(scored) > 1 else ""
        sh.say(f"{signal:{width}}  {100 * share:6.2f} %  {'█' * round(share * 40)}{where}")
    sh.note(f"by {detector.version}")
    return ExitCode.DONE


def _load(sh: Shell, named: str | None) -> ConceptSet:
    from fedi_safety.concepts.reading import configured_concepts

    clip = sh.settings.clip
    return configured_concepts(clip.model_copy(update={"concepts": named}) if named else clip)


def _as_json(found: ConceptSet, asked: Mapping[str, list[str]]) -> dict[str, Any]:
    concepts = [
        {
            "signal": concept.signal,
            "definition": concept.definition,
            "positive": list(concept.positive),
            "negative": list(concept.negative),
            "templates": list(concept.templates),
            "temperature": concept.temperature,
            "rules": asked[concept.signal],
        }
        for concept in found.concepts
    ]
    learned = [
        {
            "signal": head.signal,
            "definition": head.definition,
            "model": head.model,
            "learned_on": head.learned_on,
            "contents": dict(head.contents),
            "cross_validation": dict(head.figures),
            "rules": asked[head.signal],
        }
        for head in found.heads
    ]
    return {"name": found.name, "texts": len(found.prompts), "concepts": concepts, "learned": learned}


def _rules(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


# --- learning


commands.command()(learn)


def _read(image: str, most: int) -> bytes:
    """Return the file's bytes. Raises `UsageError` for what is no ordinary file, or is too large."""
    try:
        # Non-blocking, as opening a FIFO would wait for a writer.
        with open(os.open(image, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(image, "is not a regular file", "name a picture")
            data: bytes = file.read(most + 1)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise UsageError(image, f"cannot be read: {cause}", "name a picture") from error
    if len(data) > most:
        raise UsageError(image, f"has more than {most} bytes", "see `limits.max_bytes`")
    return data
