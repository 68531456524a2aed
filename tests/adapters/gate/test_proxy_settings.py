"""Servers behind the gate as they are configured: what cannot be handed on to is refused before anything listens."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from fedi_safety.cli.serve_cmd import warnings
from fedi_safety.config.loading import load_settings
from fedi_safety.config.upstream import UpstreamWord
from fedi_safety.core.errors import ConfigError
from fedi_safety.gate.proxy.kinds import KINDS, spellings
from fedi_safety.gate.service import checked

GOOD = {"url": "http://127.0.0.1:3000", "kind": "mastodon"}


def problem(upstream: dict[str, dict[str, Any]], **gate: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        settings = load_settings(None, gate={"upstream": upstream, **gate})
        checked(settings.gate, settings.gate.host)
    return caught.value.line()


def test_every_kind_that_can_be_configured_is_in_the_table() -> None:
    assert set(KINDS) == set(get_args(UpstreamWord))
    for kind in KINDS.values():
        assert kind.unseen and (kind.routes or kind.everywhere)


@pytest.mark.parametrize(
    ("upstream", "said"),
    [
        ({"a": GOOD | {"kind": "mastodom"}}, "did you mean mastodon"),
        ({"a": {"kind": "mastodon"}}, "gate.upstream.a.url"),
        ({"a": GOOD | {"url": "127.0.0.1:3000"}}, "is no http or https address"),
        ({"a": GOOD | {"url": "ftp://127.0.0.1"}}, "is no http or https address"),
        ({"a": GOOD | {"url": "http://127.0.0.1:x"}}, "is no http or https address"),
        ({"a": GOOD | {"url": "http://127.0.0.1:3000/api"}}, "has more than a host and a port"),
        ({"a": GOOD | {"url": "http://user:secret@127.0.0.1:3000"}}, "has a user in it"),
        ({"a": GOOD, "b": GOOD}, "gate.upstream.b.port: is 14052, which gate.upstream.a.port has"),
        ({"a": GOOD | {"port": 14051}}, "is 14051, which gate.port has"),
        ({"a": GOOD | {"url": "http://127.0.0.1:14051"}}, "is this gate itself (gate.port)"),
        ({"a": GOOD | {"url": "http://localhost:14052"}}, "is this gate itself (gate.upstream.a.port)"),
        ({"a": GOOD | {"networks": ["0.0.0.0/0"]}}, "is open to the world"),
        ({"a": GOOD | {"host": "x"}}, "unknown key"),
    ],
)
def test_what_cannot_be_handed_on_to_is_refused_in_one_line(upstream: dict[str, dict[str, Any]], said: str) -> None:
    line = problem(upstream)
    assert said in line and "\n" not in line and "secret@" not in line


def test_listening_everywhere_finds_itself_by_any_of_its_addresses() -> None:
    line = problem({"a": GOOD | {"url": "http://127.0.0.1:14052"}}, host="0.0.0.0", tokens={"x": "a secret"})
    assert "is this gate itself" in line


def test_a_server_that_writes_pictures_anew_is_told_of_at_the_start() -> None:
    settings = load_settings(None, gate={"upstream": {"a": GOOD, "b": GOOD | {"kind": "misskey", "port": 14053}}})
    checked(settings.gate, settings.gate.host)
    (line,) = [line for line in warnings(settings.gate, findable=True) if "anew" in line]
    assert line.startswith("note: mastodon may write pictures anew")


def test_spellings_of_a_path_lead_to_the_same_place() -> None:
    assert {"/api/v1/media", "/api/v1/media.json"} <= spellings(b"//api/./v1/x/../%6Dedia.json/;a?b")
    assert KINDS["mastodon"].route(b"/api/v1/mediax") is None
    assert KINDS["misskey"].route(b"/api/drive/files/create") is not None
