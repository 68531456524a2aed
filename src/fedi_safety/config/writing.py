"""A first configuration as text: what somebody chose, with a comment each, and the keys that come next, switched off.

Pure: values in, TOML out. What it writes `load_settings` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fedi_safety.config.schema import ENV_PREFIX
from fedi_safety.core.wording.hints import PROGRAM


@dataclass(frozen=True, slots=True)
class FirstSettings:
    """What a first configuration says. `secrets` are keys with dots; `from_variables` are those set elsewhere."""

    server: str | None
    store: str
    detectors: tuple[str, ...]
    act: str
    ledger: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    from_variables: tuple[str, ...] = ()
    preset: str | None = None  # of law, which says what is done
    recipients: tuple[str, ...] = ()
    vault: str | None = None


def first_config(chosen: FirstSettings) -> str:
    """Return the text of the file."""
    return "\n".join(_lines(chosen)) + "\n"


def quoted(text: str) -> str:
    """Return a text as TOML writes it in one line. Raises `ValueError` for what is not UTF-8."""
    text.encode("utf-8")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _lines(chosen: FirstSettings) -> Iterator[str]:
    yield f"# The configuration of fedi-safety, written by `{PROGRAM} init`. docs/config.md explains every key, and"
    yield "# examples/config.toml has them all. A line that begins with `#` and a name is a key that is not set."
    yield f"# Is it in order? `{PROGRAM} doctor` says. A FEDI_SAFETY_... variable wins over what stands here."
    yield ""
    yield "# Where the media are: a path or a URL."
    yield f"store = {quoted(chosen.store)}"
    yield "# What is done about what the policy condemns: report leaves it as it is, and records it; delete removes it"
    yield "# from the store, purge through pict-rs, both for good. Nothing is removed before a complete dry run."
    if chosen.preset is None:
        yield f"act = {quoted(chosen.act)}"
    else:
        yield "# Left out: as `law.preset` says, below."
        yield '#act = "seal"'
    yield "# Which detectors judge: embedded comes along; clip needs a model (docs/models.md)."
    yield f"detectors = [{', '.join(map(quoted, chosen.detectors))}]"
    yield "# How strict: cautious, balanced, strict, or a file of your own (docs/policy.md)."
    yield '#policy = "balanced"'
    yield "# What remembers every verdict and removal; left out, one place for all (docs/operations.md)."
    yield '#ledger = "/path/to/ledger.db"' if chosen.ledger is None else f"ledger = {quoted(chosen.ledger)}"
    yield ""
    yield "# Removals stop by themselves, until you had a look, when a run would remove more than this."
    yield "[breaker]"
    yield "#max_removed = 1000"
    yield "#max_removed_share = 0.05"
    for section, about in (("s3", "The keys to the object storage."), ("pictrs", "The pict-rs that owns the media.")):
        yield from _section(chosen, section, about)
    yield from _sealing(chosen)
    yield from _trace(chosen)


def _sealing(chosen: FirstSettings) -> Iterator[str]:
    """Write for whose keys copies are sealed, and the preset of law; nothing where nobody named a key."""
    if not chosen.recipients:
        return
    yield ""
    yield "# Copies of what is removed, sealed for these public keys: nothing here opens them (docs/seal.md)."
    yield "[seal]"
    yield f"recipients = [{', '.join(map(quoted, chosen.recipients))}]"
    if chosen.vault is not None:
        yield f"vault = {quoted(chosen.vault)}"
    if chosen.preset is not None:
        yield ""
        yield "# What is done and how long copies are kept (docs/law.md; not legal advice)."
        yield "[law]"
        yield f"preset = {quoted(chosen.preset)}"


def _section(chosen: FirstSettings, section: str, about: str) -> Iterator[str]:
    """Write a section of secrets; one that has none is left out."""
    own = {key: value for key, value in chosen.secrets.items() if key.partition(".")[0] == section}
    elsewhere = [key for key in chosen.from_variables if key.partition(".")[0] == section]
    if not own and not elsewhere:
        return
    yield ""
    yield f"# {about}" + (" Who can read this file has them." if own else "")
    yield f"[{section}]"
    for key, value in own.items():
        yield f"{key.partition('.')[2]} = {quoted(value)}"
    for key in elsewhere:
        yield f"# Comes from a variable, such as {ENV_PREFIX}{key.upper().replace('.', '__')}:"
        yield f'#{key.partition(".")[2]} = "..."'


def _trace(chosen: FirstSettings) -> Iterator[str]:
    yield ""
    yield "# Who put there what is condemned: the server whose media these are, and how it is asked (docs/trace.md)."
    yield "[trace]"
    yield '#server = "mastodon"' if chosen.server is None else f"server = {quoted(chosen.server)}"
    yield "# Its public address; a database role that may only read; a token of an account that may moderate."
    yield '#url = "https://social.example"'
    yield '#database = "postgresql://fedi_safety:...@127.0.0.1/the_server"'
    yield '#token = "..."'
    yield "# What is done through its API about posts and people (docs/actions.md); nothing is, unless it stands here."
    yield "#actions = []"
