"""The documentation keeps up with the program: nothing is missing, nothing is made up, no link is broken."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args, get_origin

import pytest
import typer
from pydantic import BaseModel

from fedi_safety.cli import build
from fedi_safety.config import predecessor
from fedi_safety.config.locations import ROOT_VARIABLE
from fedi_safety.config.schema import ENV_PREFIX, KnownSource, Settings
from fedi_safety.core.decide import CHECKPOINT_OBJECTS
from fedi_safety.core.enums import SKIPPED, PlanState, Reason
from fedi_safety.core.errors import ExitCode
from fedi_safety.core.known.effects import SIGNALS
from fedi_safety.core.policy import TEST_CARD_SIGNAL
from fedi_safety.detectors import available_detectors, signals_of
from fedi_safety.judging.metrics import Metrics
from fedi_safety.judging.types import Unjudged
from fedi_safety.media.decoder.frames.sampling import odds
from fedi_safety.policies import PRESETS, load_policy

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MIGRATING = "migrating.md"  # where the predecessor's names are, which `--help` hides


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


# --- what the program has


@cache
def commands() -> dict[str, tuple[frozenset[str], bool]]:
    """Every command by its full name, with its options and whether it is hidden."""
    found: dict[str, tuple[frozenset[str], bool]] = {}

    def walk(command: object, path: str, hidden: bool) -> None:
        hidden = hidden or bool(getattr(command, "hidden", False))
        children = getattr(command, "commands", None)
        if children is not None:
            for name, child in children.items():
                walk(child, f"{path} {name}".strip(), hidden)
            return
        options = {"--help", "-h"}
        for parameter in getattr(command, "params", []):
            if getattr(parameter, "param_type_name", "") == "option":
                options.update([*parameter.opts, *parameter.secondary_opts])
        found[path] = frozenset(options), hidden

    walk(typer.main.get_command(build()), "", False)
    return found


@cache
def common_options() -> frozenset[str]:
    """The options that every command has but the one that reads no configuration."""
    return frozenset.intersection(*(options for name, (options, _) in commands().items() if name != "completion"))


def settings(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every key with dots, and its default; sections are gone into."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        values = get_args(annotation)[-1:] if get_origin(annotation) is dict else (annotation,)
        if values and isinstance(values[0], type) and issubclass(values[0], BaseModel):
            own = "" if values[0] is annotation else "NAME."
            yield from settings(values[0], f"{prefix}{name}.{own}")
        else:
            yield f"{prefix}{name}", field.default


def variable(key: str) -> str:
    return ENV_PREFIX + key.upper().replace(".", "__")


def section(text: str, heading: str) -> str:
    """The part below a heading, up to the next one of its level."""
    level = heading.split()[0]
    after = re.split(rf"^{re.escape(heading)}(?:$|[ `].*$)", text, maxsplit=1, flags=re.MULTILINE)
    assert len(after) == 2, f"there is no heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", after[1], maxsplit=1, flags=re.MULTILINE)[0]


# --- nothing is missing


def test_there_are_commands_to_document() -> None:
    assert {"scan", "apply", "policy preview", "ledger verify", "self-test"} <= commands().keys()
    assert {"--config", "--ledger", "--log-level", "--quiet", "-q", "--yes", "-y", "-h"} <= common_options()
    assert "--no-cascade" in commands()["scan"][0]


def test_every_command_and_option_is_documented() -> None:
    text = page("cli.md")
    common = section(text, "## Common options")
    missing = sorted(o for o in common_options() if f"`{o}`" not in common and f"`{o} " not in common)
    for name, (options, hidden) in commands().items():
        part = page(MIGRATING) if hidden else section(text, f"## `fedi-safety {name}")
        own = options - common_options()
        if hidden:
            own -= {"--dry-run"}  # the new spelling of its `--dry_run`
        missing += sorted(f"{name} {o}" for o in own if f"`{o}`" not in part and f"`{o} " not in part)
    assert missing == []
    assert "`fedi-safety --version`" in text


def test_every_key_of_a_source_is_documented_with_its_default() -> None:
    part = section(page("config.md"), "### `[known]`: lists of known images")
    rows = {line.split("|")[1].strip(): line for line in part.splitlines() if line.startswith("| `")}
    fields = KnownSource.model_fields
    assert [key.strip("`") for key in rows if "." not in key] == list(fields)
    for name, field in fields.items():
        if isinstance(field.default, bool | int | float | str):
            assert f"`{str(field.default).lower()}`" in rows[f"`{name}`"], name


def test_every_setting_is_documented_with_variable_and_default() -> None:
    text = page("config.md")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")}
    rows = {key: row for key, row in rows.items() if row.count("|") == 6}  # the others are of tables within lists
    for key, default in settings():
        row = rows.pop(f"`{key}`", None)
        assert row is not None, f"docs/config.md has no row for {key}"
        assert f"`{variable(key)}`" in row, f"{variable(key)} is missing in the row of {key}"
        if isinstance(default, int | float | str):
            assert f"`{default}`" in row.split("|")[4], f"the default of {key} is {default}"
    assert rows == {}, "docs/config.md has rows for settings that do not exist"
    part = section(text, "## Names of the earlier fedi-safety")
    names = [value for name, value in vars(predecessor).items() if name.isupper() and isinstance(value, str)]
    assert len(names) > 8
    assert [name for name in names if f"`{name}`" not in part] == []


def test_variables_that_docs_name_exist() -> None:
    known = {variable(key) for key, _ in settings()} | {ROOT_VARIABLE}
    for path in PAGES:
        named = set(re.findall(r"FEDI_SAFETY_[A-Z0-9_]*[A-Z0-9]", path.read_text("utf-8")))
        assert named <= known, f"{path.name} names variables that do not exist: {sorted(named - known)}"


def test_every_exit_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d+) \|", page("exit-codes.md"), flags=re.MULTILINE)
    assert sorted(map(int, rows)) == sorted(ExitCode)


def test_every_reason_signal_preset_and_state_is_documented() -> None:
    reasons = section(page("operations.md"), "### Why an object has no verdict")
    skipped, unscanned = reasons.split("It is **unscanned**")
    assert {r for r in Reason if f"| `{r}` |" in skipped} == SKIPPED
    assert {r for r in Reason if f"| `{r}` |" in unscanned} == set(Reason) - SKIPPED
    rows = {m[1]: m[2] for m in re.finditer(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", reasons, flags=re.MULTILINE)}
    again = {True: "when it or the decoder changes", False: "when it changes"}
    assert rows == {r.value: "yes" if r.transient else again[r.of_decoder] for r in Reason}

    signals = section(page("policy.md"), "## Signals")
    documented = set(re.findall(r"^\| `([a-z0-9_.]+)` \|", signals, flags=re.MULTILINE))
    assert documented == signals_of(Settings(detectors=list(available_detectors()))) | {TEST_CARD_SIGNAL, *SIGNALS}
    for name in available_detectors():
        assert f"`{name}`" in page("detectors.md"), name

    presets = section(page("policy.md"), "## The presets")
    for preset in PRESETS:
        assert f"| `{preset}`" in presets, preset
        bound = load_policy(preset).cascade["sexual"][0].below
        assert f"| `{preset}` | {bound} |" in section(page("policy.md"), "## The cascade"), preset
    for state in PlanState:
        assert f"`{state.value}`" in section(page("cli.md"), "## `fedi-safety list"), state


def test_every_code_and_figure_of_the_gate_is_documented() -> None:
    text = page("api.md")
    rooms = [ROOT / "src/fedi_safety" / room for room in ("gate", "judging")]
    source = "".join(path.read_text("utf-8") for room in rooms for path in sorted(room.rglob("*.py")))
    said = re.findall(r"(?:Refusal|_turn_away)\(\s*(?:\d{3}), \"([a-z_]+)\"", source)
    said += re.findall(r"\{\d{3}: \"([a-z_]+)\"", source) + re.findall(r"return \"([a-z]+_[a-z]+)\"", source)
    assert {"unauthorized", "wrong_key", "too_large", "head_timeout", "not_found", "models_loading"} <= set(said)
    errors = section(text, "## Errors") + section(text, "## Readiness")
    assert sorted(code for code in set(said) if f"`{code}`" not in errors) == []
    uploads = section(text, "## Uploads")
    for reason in Unjudged:
        assert f"`{reason.value}`" in uploads, reason
        assert f"| `{reason.value}` |" in page("gate.md"), reason

    documented = set(re.findall(r"`fedi_safety_gate_([a-z_]+)`", section(text, "## Figures")))
    families = {family.name.removeprefix("fedi_safety_gate_") for family in Metrics().registry.collect()}
    gauges = set(re.findall(r"m\.(?:gauge|by_label|labelled)\(\s*\"([a-z_]+)\"", source))
    assert len(families) > 5 and len(gauges) > 10
    assert {name.removesuffix("_total") for name in documented} == families | gauges


def test_the_breakers_numbers_are_those_of_the_program() -> None:
    part = section(page("operations.md"), "## The breaker")
    defaults = dict(settings())
    for key, share in defaults.items():
        if key.startswith("breaker.max_"):
            assert isinstance(share, int | float)
            said = f"{share:.0%}".replace("%", " %") if isinstance(share, float) else f"{share:,}"
            assert f"`{key}` ({said})" in part, (key, said)
    assert f"every {CHECKPOINT_OBJECTS:,} objects" in part


def test_the_odds_of_short_insertions_are_those_of_the_program() -> None:
    part = section(page("media.md"), "### How likely a short insertion is seen")
    heading, _, *rows = [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("|")][:5]
    columns: list[tuple[float, int]] = []
    length = 0.0
    for cell in heading[1:]:
        if match := re.match(r" clip of (\d+) (s|min), ", cell):
            length = float(match[1]) * (60 if match[2] == "min" else 1)
        columns.append((length, int(re.findall(r"\d+", cell)[-1])))
    for row, seconds in zip(rows, (1 / 30, 1, 5), strict=True):
        for said, (clip, budget) in zip(row[1:], columns, strict=True):
            true = 100 * odds(seconds, clip, budget)
            assert true - max(1, true / 5) < float(said) <= true, (seconds, clip, budget)


# --- nothing is made up


def code(text: str) -> Iterator[str]:
    """Lines of code blocks and pieces of inline code."""
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def calls(text: str) -> Iterator[list[str]]:
    """The words of every call of the program in `text`, up to a comment, a pipe or another command."""
    for line in code(text):
        for match in re.finditer(r"(?:^|[\s/])fedi-safety((?: +[^\s`|;&#>]+)+)", line):
            words = match[1].split()
            if re.fullmatch(r"[a-z][a-z-]*", words[0]) or words[0].startswith("-"):
                yield words


def problem(words: list[str]) -> str | None:
    """What is wrong with a call."""
    known = commands()
    if words[0].startswith("-"):
        return None if words[0] in ("--version", "--help", "-h") else f"no such option {words[0]}"
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in known), None)
    if name is None:
        return f"no such command {' '.join(words[:2])}"
    for word in words:
        option = word.split("=")[0].strip("[],.")
        if option.startswith("-") and option not in known[name][0]:
            return f"{name} has no option {option}"
    return None


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_docs_name_no_command_or_option_that_does_not_exist(path: Path) -> None:
    wrong = [f"{' '.join(words)}: {said}" for words in calls(path.read_text("utf-8")) if (said := problem(words))]
    assert wrong == []


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_options_that_stand_alone_exist_somewhere(path: Path) -> None:
    everywhere = frozenset[str]().union({"--version"}, *(options for options, _ in commands().values()))
    for piece in code(path.read_text("utf-8")):
        if piece.startswith("--"):
            assert piece.split()[0].split("=")[0] in everywhere, f"{path.name}: {piece}"


def test_these_checks_find_what_is_wrong() -> None:
    text = "`fedi-safety scan X --dryrun`\n\n```sh\n./fedi-safety aply\nfedi-safety policy look # --x\n```\n"
    assert sorted(filter(None, map(problem, calls(text)))) == [
        "no such command aply",
        "no such command policy look",
        "scan has no option --dryrun",
    ]
    assert broken_links("[a](nowhere.md) [b](README.md#no-such) [c](README.md#limits)", ROOT / "x.md") == [
        "nowhere.md",
        "README.md#no-such",
    ]
    assert FORBIDDEN.search("see https://py" + "pi.org/simple") and FORBIDDEN.search("in /ho" + "me/me/x")


# --- links, changelog, addresses


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def broken_links(text: str, page_: Path) -> list[str]:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = (page_.parent / file).resolve() if file else page_
        if not place.is_file() or (anchor and anchor not in anchors(place)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_internal_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path.read_text("utf-8"), path) == []


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for path in [*ROOT.glob("[!R]*.md"), *(ROOT / "docs").glob("*.md")]:
        assert f"({path.relative_to(ROOT)})" in readme, path.name


def test_the_changelog_has_an_open_section() -> None:
    assert re.search(r"^## \[?Unreleased\]?\s*$", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)


# Written in pieces, so that this file is not the first to be found.
_HOSTS = ("py" + r"pi\.org", "python" + r"hosted\.org", "npm" + r"js\.(org|com)", "crates" + r"\.io", "gh" + r"cr\.io")
_PLACES = ("/ho" + r"me/\w", "/ro" + r"ot/", "/Us" + r"ers/\w", r"(?<![\w.])/wo" + r"rk/")
FORBIDDEN = re.compile("|".join((*_HOSTS, "index-url" + r"[ =]http", *_PLACES)))


def test_no_tracked_file_names_a_registry_or_a_machines_path() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    paths = [ROOT / name.decode() for name in listed if name]
    assert len(paths) > 50
    found = []
    for path in paths:
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        if b"\0" in data[:8192]:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if match := FORBIDDEN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert found == []
