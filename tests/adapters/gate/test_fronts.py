"""What web servers are told: what the gate takes for an upload is sent to it, and the pages show what is printed."""

from __future__ import annotations

import json
import posixpath
import re
import string
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedi_safety.config.loading import load_settings
from fedi_safety.gate.fronts import Front, Place, WhenDown, front_text
from fedi_safety.gate.proxy import upstreams
from fedi_safety.gate.proxy.kinds import KINDS, UpstreamKind, paths
from support.program import check_one_line_error, program

ROOT = Path(__file__).parents[3]
PAGES = sorted((ROOT / "docs").glob("gate-*.md"))
RUN = re.compile(r"^<!-- run -->\n```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONFIG = re.compile(r"^<!-- config -->\n```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BY_PATH = [kind for kind in KINDS.values() if not kind.everywhere]
UNSHARED = string.ascii_letters + string.digits + "._-"


def place(kind: UpstreamKind) -> Place:
    return Place(kind, "127.0.0.1:14052", "127.0.0.1:3000", 128 << 20)


@st.composite
def spelled(draw: st.DrawFn) -> tuple[UpstreamKind, str]:
    """Draw a path where uploads come in, in some spelling."""
    kind = draw(st.sampled_from(BY_PATH))
    path = draw(st.from_regex(draw(st.sampled_from(list(paths(kind)))), fullmatch=True, alphabet=UNSHARED + "/:@~"))
    path += draw(st.sampled_from(["", "/", "//", ".json", ".html/", ";a=b", "/.", "/x/.."]))
    at = draw(st.integers(0, len(path)))
    match draw(st.sampled_from(["plain", "double", "dots", "coded"])):
        case "double":
            path = path.replace("/", "//")
        case "dots":
            path = "/x/.." + path
        case "coded":
            path = path[:at] + "".join(f"%{ord(c):02X}" for c in path[at : at + 3]) + path[at + 3 :]
    return kind, path


def as_web_servers_see_it(path: str) -> str:
    """Return what a path is matched as: percent signs resolved once, slashes merged, dots gone."""
    plain = re.sub("/+", "/", unquote(path))
    resolved = posixpath.normpath(plain)
    return resolved + ("/" if plain.endswith(("/", "/.", "/..")) and resolved != "/" else "")


@given(spelled())
@example((KINDS["mastodon"], "/api/v2/media.json"))
@example((KINDS["mastodon"], "//api/v1/%6Dedia/"))
@example((KINDS["misskey"], "/api/drive/files/create;x=y"))
def test_whatever_the_gate_takes_for_an_upload_is_sent_to_it(drawn: tuple[UpstreamKind, str]) -> None:
    kind, path = drawn
    pattern = place(kind).pattern
    assert pattern is not None
    if kind.route(path.encode()) is not None:
        assert re.search(pattern, as_web_servers_see_it(path)), (kind.name, path)


def test_other_paths_are_not_sent_to_it() -> None:
    for path in ("/", "/api/v1/statuses", "/inbox", "/api/v1/timelines/home", "/api/v2/mediax", "/x/api/v2/media"):
        for kind in BY_PATH:
            assert not re.search(str(place(kind).pattern), path), (kind.name, path)


@pytest.mark.parametrize("front", Front)
@pytest.mark.parametrize("when_down", WhenDown)
def test_each_kind_is_told_where_the_gate_is_and_what_becomes_of_uploads_without_it(
    front: Front, when_down: WhenDown
) -> None:
    for kind in KINDS.values():
        text = front_text(front, place(kind), when_down)
        assert "127.0.0.1:14052" in text
        assert ("127.0.0.1:3000" in text) is (when_down is WhenDown.OPEN)
        assert ("not taken" in text) is (when_down is WhenDown.CLOSED) is ("closed" in text)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs/proxy.md"], ids=lambda path: path.name)
def test_the_pages_show_what_it_prints(page: Path, empty_home: Path) -> None:
    text = page.read_text("utf-8")
    blocks = CONFIG.findall(text) or ['[gate.upstream.mastodon]\nurl = "http://127.0.0.1:3000"\nkind = "mastodon"\n']
    config = empty_home / "config.toml"
    config.write_text(blocks[0])
    seen = 0
    for block in RUN.findall(text):
        for part in block.split("$ ")[1:]:
            command, _, output = part.partition("\n")
            if command.startswith("fedi-safety gate-config "):
                done = program(*command.split()[1:], "--config", str(config))
                assert (done.code, done.out.strip()) == (0, output.strip()), command
                seen += 1
    assert seen


def test_all_four_pages_are_there() -> None:
    assert [page.stem for page in PAGES] == ["gate-mastodon", "gate-misskey", "gate-pixelfed", "gate-pleroma"]


def test_addresses_come_from_the_configuration_and_from_options(empty_home: Path) -> None:
    config = empty_home / "config.toml"
    both = "".join(
        f'[gate.upstream.{name}]\nkind = "pleroma"\nurl = "http://host-{name}"\nport = {port}\n'
        for name, port in (("old", 4001), ("new", 4002))
    )
    config.write_text('[gate]\nhost = "::"\nmax_bytes = 10000000\n' + both)
    given_ = ("--config", str(config), "--when-down", "open")
    check_one_line_error(program("gate-config", "nginx", "pleroma", *given_), 2, "old and new", "--upstream")
    done = program("gate-config", "nginx", "pleroma", *given_, "--upstream", "new")
    assert done.code == 0, done
    for words in ("server [::1]:4002 ", "server host-new:80 backup", "client_max_body_size 20m"):
        assert words in done.out, done.out
    told = program("gate-config", "caddy", "misskey", *given_, "--gate", "gate:14052", "--server", "web:3000")
    assert told.code == 0 and "reverse_proxy gate:14052 web:3000" in told.out
    assert "# The gate's configuration has no server of this kind yet" in told.out
    assert 'url = "http://web:3000"' in told.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lighttpd", "mastodon"), ("FRONT lighttpd", "nginx, caddy, apache")),
        (("nginx", "mastdon"), ("KIND mastdon", "mastodon, glitch-soc")),
        (("nginx", "mastodon", "--when-down", "shut"), ("--when-down shut", "open, closed")),
        (("nginx", "mastodon", "--server", "a; b"), ("--server a; b", "HOST:PORT")),
        (("nginx", "mastodon", "--gate", "gate"), ("--gate gate", "HOST:PORT")),
        (("nginx", "mastodon", "--upstream", "x"), ("--upstream x", "none is configured")),
    ],
)
def test_what_cannot_be_meant_is_one_line(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    check_one_line_error(program("gate-config", *arguments), 2, *words)


def test_the_compose_file_beside_mastodon_has_a_configuration_that_starts() -> None:
    text = (ROOT / "packaging/compose.mastodon.yaml").read_text("utf-8")
    (written,) = re.findall(r"FEDI_SAFETY_GATE__UPSTREAM: >-\n((?: {8}.*\n)+)", text)
    settings = load_settings(None, gate={"upstream": json.loads(written), "host": "0.0.0.0"})
    upstreams.check(settings.gate)
    upstream = settings.gate.upstream["mastodon"]
    assert (upstream.kind, upstream.url, upstream.port) == ("mastodon", "http://web:3000", 14052)
    assert 'ports: ["127.0.0.1:14052:14052"]' in text
