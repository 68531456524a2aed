"""The options that several commands take: one name, one help text each."""

from __future__ import annotations

from typing import Annotated

import typer

from fedi_safety.core.enums import ACT_WORDS, FailOn

_GROUP = "Common options"

ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="The configuration file.", rich_help_panel=_GROUP)
]

LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger", metavar="PATH", help="The ledger: a path, or a URL of sqlite or postgresql.", rich_help_panel=_GROUP
    ),
]

LogLevelOption = Annotated[
    str | None,
    typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.", rich_help_panel=_GROUP),
]

QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but errors and asked-for data.", rich_help_panel=_GROUP)
]

YesOption = Annotated[
    bool,
    typer.Option(
        "--yes", "-y", help="Answer questions with yes, but for the two of a first real run.", rich_help_panel=_GROUP
    ),
]

StoreArgument = Annotated[
    str | None,
    typer.Argument(metavar="STORE", help="A path, a URL or a configured name; left out, the configured one."),
]

ActOption = Annotated[
    str | None,
    typer.Option(
        "--act",
        metavar="ACTION",
        help=f"What is done about condemned objects: {', '.join(ACT_WORDS[:-1])} or {ACT_WORDS[-1]}.",
    ),
]

WithoutDryRunOption = Annotated[
    bool, typer.Option("--without-dry-run", help="Remove although no complete dry run is in this ledger.")
]

ConceptsOption = Annotated[
    str | None,
    typer.Option("--concepts", metavar="NAME|FILE", help="What the detector clip looks for: `default`, or a file."),
]

LearnedOption = Annotated[
    list[str] | None,
    typer.Option("--learned", metavar="NAME|FILE", help="A head that `concepts learn` wrote; repeatable."),
]

KeepOption = Annotated[
    str | None,
    typer.Option("--keep-embeddings", metavar="HOW", help="Keep clip's embeddings for later: no, float16 or int8."),
]
PrefixOption = Annotated[
    list[str] | None,
    typer.Option("--prefix", metavar="KEY", help="Only objects whose key begins like this; repeatable."),
]
DetectorsOption = Annotated[
    str | None, typer.Option("--detectors", metavar="NAMES", help="Which detectors judge, with commas between.")
]
PolicyOption = Annotated[
    str | None,
    typer.Option("--policy", metavar="NAME|FILE", help="A preset (cautious, balanced, strict) or a policy file."),
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="What the detectors run on: auto, cpu, cuda, ...")]
PrecisionOption = Annotated[
    str | None,
    typer.Option("--precision", help="In which number format open_nsfw is asked first: auto, fp32 or int8."),
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", min=0, help="Decoder processes and scoring threads; 0: one per core.")
]
FramesOption = Annotated[
    int | None,
    typer.Option("--frames", min=1, max=256, help="Frames of an animation or clip that a first pass judges."),
]
CascadeOption = Annotated[
    bool,
    typer.Option("--cascade/--no-cascade", help="Leave expensive detectors out where cheap ones settle every rule."),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume-acts", help="You had a look: remove although the breaker stopped or would stop that.")
]
ResumeActionsOption = Annotated[
    bool,
    typer.Option("--resume-actions", help="You had a look: act through the app although its breaker stopped that."),
]
AcceptGoneOption = Annotated[
    bool,
    typer.Option(
        "--accept-gone", help="You had a look: what a store does not hold any more is really gone. For whole passes."
    ),
]
SkippedOption = Annotated[
    bool,
    typer.Option(
        "--skipped-as-unscanned",
        help="Count what is no media as unscanned, for exit code 1 too, as first versions did.",
    ),
]
FailOnOption = Annotated[
    FailOn | None,
    typer.Option("--fail-on", help="Exit with 6 where something is condemned, so that cron tells of it."),
]
ClosingJsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
