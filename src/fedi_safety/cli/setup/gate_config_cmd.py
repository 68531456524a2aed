"""`gate-config`: what a web server is told so that uploads go through the gate. Prints it, and changes nothing."""

from __future__ import annotations

import re
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell
from fedi_safety.core.errors import UsageError

if TYPE_CHECKING:
    from fedi_safety.config.schema import Gate
    from fedi_safety.config.upstream import GateUpstream
    from fedi_safety.gate.fronts import Place
    from fedi_safety.gate.proxy.kinds import UpstreamKind

_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


def gate_config(
    front: Annotated[str, typer.Argument(metavar="FRONT", help="The web server: nginx, caddy or apache.")],
    kind: Annotated[str, typer.Argument(metavar="KIND", help="The server behind it, such as mastodon or misskey.")],
    when_down: Annotated[
        str,
        typer.Option(
            "--when-down",
            metavar="HOW",
            help="While the gate cannot be reached: closed refuses uploads, open lets them by, unjudged.",
        ),
    ] = "closed",
    upstream: Annotated[
        str | None,
        typer.Option(
            "--upstream", metavar="NAME", help="Which of the configured upstreams, where several are of this kind."
        ),
    ] = None,
    gate: Annotated[
        str | None, typer.Option("--gate", metavar="HOST:PORT", help="Where the web server reaches the gate.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="HOST:PORT", help="Where the web server reaches the server itself."),
    ] = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Print what nginx, Caddy or Apache is told, so that uploads, and nothing else, go through the gate."""
    from fedi_safety.gate.fronts import Front, Place, WhenDown, front_text
    from fedi_safety.gate.proxy.kinds import KINDS

    chosen = Front(_one_of("FRONT", front, [word.value for word in Front]))
    known = KINDS[_one_of("KIND", kind, list(KINDS))]
    down = WhenDown(_one_of("--when-down", when_down, [word.value for word in WhenDown]))
    sh = shell(config, ledger, log_level, quiet, yes)
    name, found = _upstream(sh.settings.gate, known, upstream)
    place = Place(
        known,
        _address("--gate", gate or f"{_host(sh.settings.gate.host)}:{_port(found)}"),
        _address("--server", server or _server(known, found, name)),
        sh.settings.gate.max_bytes,
    )
    lines = [] if found is not None else _lacking(known, place)
    seen = f"Never comes by here, and is seen in the store alone: {'; '.join(known.unseen)}."
    lines += [f"# {line}\n" for line in textwrap.wrap(seen, 110)] + ["\n"]
    sys.stdout.write("".join(lines) + front_text(chosen, place, down))
    return 0


def _host(listening: str) -> str:
    """Return the host by which an address that the gate listens on is reached from this machine, as in a URL."""
    host = _EVERYWHERE.get(listening, listening)
    return f"[{host}]" if ":" in host and host[0] != "[" else host


def _one_of(what: str, word: str, words: list[str]) -> str:
    if word not in words:
        raise UsageError(f"{what} {word}", "there is no such word", f"name one of {', '.join(words)}")
    return word


def _upstream(gate: Gate, kind: UpstreamKind, name: str | None) -> tuple[str, GateUpstream | None]:
    """Return the configured upstream that is meant, and its name; None where none of this kind is configured."""
    if name is not None and name not in gate.upstream:
        there = f"name one of {', '.join(gate.upstream)}" if gate.upstream else "leave it out: none is configured"
        raise UsageError(f"--upstream {name}", f"there is no [gate.upstream.{name}]", there)
    if name is not None and gate.upstream[name].kind != kind.name:
        raise UsageError(
            f"--upstream {name}", f"its kind is {gate.upstream[name].kind}", f"name it instead of {kind.name}"
        )
    found = [each for each, upstream in gate.upstream.items() if upstream.kind == kind.name and name in (None, each)]
    if len(found) > 1:
        raise UsageError(kind.name, f"{' and '.join(found)} are of this kind", "name one by --upstream")
    return (found[0], gate.upstream[found[0]]) if found else (kind.name, None)


def _port(upstream: GateUpstream | None) -> int:
    from fedi_safety.config.upstream import GateUpstream as Model

    return int(Model.model_fields["port"].default) if upstream is None else upstream.port


def _server(kind: UpstreamKind, upstream: GateUpstream | None, name: str) -> str:
    """Return where the server itself is."""
    from urllib.parse import urlsplit

    if upstream is None:
        return f"127.0.0.1:{kind.port}"
    parts = urlsplit(upstream.url)
    if parts.scheme != "http":
        raise UsageError(f"gate.upstream.{name}.url", f"{parts.scheme} is not http", "name --server HOST:PORT")
    return parts.netloc if parts.port else f"{parts.netloc}:80"


def _address(option: str, text: str) -> str:
    """Return an address. Raises `UsageError` for what is none: it goes into another program's configuration."""
    if not _ADDRESS.fullmatch(text):
        raise UsageError(f"{option} {text}", "that is no address", "name HOST:PORT, such as 127.0.0.1:3000")
    return text


def _lacking(kind: UpstreamKind, place: Place) -> list[str]:
    """Return what the gate's own configuration lacks, as comments."""
    return [
        "# The gate's configuration has no server of this kind yet. It needs:\n",
        f"#   [gate.upstream.{kind.name}]\n",
        f'#   kind = "{kind.name}"\n',
        f'#   url = "http://{place.server}"\n',
        "#\n",
    ]
