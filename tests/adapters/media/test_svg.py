"""SVG drawings: drawn as large as detectors want, with nothing of this machine or the network in them."""

from __future__ import annotations

import base64
import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import Decoded, Frame
from fedi_safety.media import Caps, SandboxDecoder
from support.corpus.media_zoo import saved
from support.corpus.moving import number, numbered, picture
from support.corpus.paged import CIRCLE, address, embedded, svg
from support.share import examples

RED, WHITE = (220, 30, 30), (255, 255, 255)


@pytest.fixture(scope="module")
def decoder() -> Iterator[SandboxDecoder]:
    """Give a decoder in its sandbox, warm from test to test."""
    with SandboxDecoder(Caps(max_seconds=20, tiles=0, more_tiles=0), jobs=1) as sandbox:
        yield sandbox


def drawn(decoder: SandboxDecoder, data: bytes) -> Decoded:
    """Decode what must be told as a drawing."""
    assert decoder.sniff(data[:4096]) is MediaType.SVG
    return decoder.decode(data, MediaType.SVG)


def at(frame: Frame, x: float, y: float) -> tuple[int, ...]:
    """Return the colour at a place in shares of the sides."""
    pixel = picture(frame).getpixel((int(x * (frame.width - 1)), int(y * (frame.height - 1))))
    assert isinstance(pixel, tuple)
    return pixel


# --- what is drawn


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('width="160" height="96"', (768, 461)),
        ('viewBox="0 0 160 96"', (768, 461)),
        ('width="100%" height="100%" viewBox="0 0 160 96"', (768, 461)),
        ('width="1000000" height="600000" viewBox="0 0 160 96"', (768, 461)),
        ('width="1e9" height="6e8" viewBox="0 0 160 96"', (768, 461)),
        ('width="96" height="96" viewBox="0 0 160 96"', (768, 768)),
        ('width="960" height="96" viewBox="0 0 960 96"', (2560, 256)),  # the short side stays usable
    ],
)
def test_any_size(decoder: SandboxDecoder, attributes: str, size: tuple[int, int]) -> None:
    """However large it says to be, it is drawn as large as a frame may be."""
    body = CIRCLE if "960" not in attributes else f'<g transform="translate(400)">{CIRCLE}</g>'
    decoded = drawn(decoder, svg(body, attributes=attributes))
    frame = decoded.frames[0]
    assert (frame.width, frame.height) == (decoded.width, decoded.height)
    assert frame.width == pytest.approx(size[0], rel=0.01)
    assert frame.height == pytest.approx(size[1], rel=0.01)
    assert at(frame, 0.5, 0.5) == RED
    assert (frame.index, frame.place.text, decoded.total, decoded.partly) == (0, "", 1, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_any_encoding(decoder: SandboxDecoder, encoding: str) -> None:
    """As the mark or the declaration says."""
    before = f"<?xml version='1.0' encoding='{encoding.removesuffix('-sig')}'?><!-- \u00fc -->"
    assert at(drawn(decoder, svg(CIRCLE, before=before).decode().encode(encoding)).frames[0], 0.5, 0.5) == RED


def test_transparent_on_white_and_on_black(decoder: SandboxDecoder) -> None:
    """White on nothing is seen on black."""
    decoded = drawn(decoder, svg('<circle cx="80" cy="48" r="40" fill="white"/>'))
    white, black = decoded.frames
    assert at(white, 0.5, 0.5) == at(white, 0, 0) == WHITE
    assert (at(black, 0.5, 0.5), at(black, 0, 0)) == (WHITE, (0, 0, 0))
    assert (white.index, black.index, black.place.text) == (0, 1, "on black")


def test_entities_of_its_own(decoder: SandboxDecoder) -> None:
    """What a document defines itself is drawn."""
    before = '<!DOCTYPE svg [<!ENTITY shape \'<circle cx="80" cy="48" r="40" fill="#dc1e1e"/>\'>]>'
    assert at(drawn(decoder, svg("&shape;", before=before)).frames[0], 0.5, 0.5) == RED


@pytest.mark.parametrize("attributes", ['width="160" height="96"', 'width="9600" height="96" viewBox="0 0 160 96"'])
def test_within_a_low_cap(attributes: str) -> None:
    """A cap on pixels makes drawings small, for they have no size of their own."""
    with SandboxDecoder(Caps(max_pixels=10_000), jobs=1) as low:
        decoded = drawn(low, svg(CIRCLE, attributes=attributes))
    assert decoded.width * decoded.height <= 10_000
    assert at(decoded.frames[0], 0.5, 0.5) == RED


# --- pictures inside


@pytest.mark.parametrize("kind", [MediaType.PNG, MediaType.JPEG, MediaType.GIF, MediaType.WEBP, MediaType.AVIF])
def test_a_picture_inside(decoder: SandboxDecoder, kind: MediaType) -> None:
    """It is judged, also in a format that resvg does not draw."""
    decoded = drawn(decoder, svg(embedded(saved(numbered(77), kind.name), kind.value)))
    assert 77 in [number(picture(frame)) for frame in decoded.frames if not frame.place.on_black]
    assert (decoded.total, decoded.partly) == (2, None)


@pytest.mark.parametrize(
    "body",
    [
        CIRCLE + embedded(saved(numbered(77), "PNG"), more='opacity="0"'),
        CIRCLE + embedded(saved(numbered(77), "PNG"), more='transform="translate(5000)"'),
        CIRCLE + embedded(saved(numbered(77), "PNG"), more='visibility="hidden"'),
        f"<defs>{embedded(saved(numbered(77), 'PNG'))}</defs>" + CIRCLE,
        CIRCLE + f'<g style="background: url(&quot;{address(saved(numbered(77), "PNG"))}&quot;) red"/>',
        CIRCLE + embedded(svg(embedded(saved(numbered(77), "PNG"))), "image/svg+xml", more='opacity="0"'),
        CIRCLE + embedded(saved(numbered(77), "PNG"), "text/plain", more='opacity="0"'),
        CIRCLE
        + embedded(saved(numbered(77), "PNG"))
        .replace("data:", "\n d&#10;ata:")
        .replace("<image", '<image opacity="0"'),
    ],
    ids=["faded", "outside", "hidden", "undrawn", "style", "nested", "misnamed", "broken"],
)
def test_a_hidden_picture_inside(decoder: SandboxDecoder, body: str) -> None:
    """It is judged in full wherever it stands, beside the drawing, and the reasons can name it."""
    decoded = drawn(decoder, svg(body))
    assert at(decoded.frames[0], 0.5, 0.5) == RED
    last = decoded.frames[-1]
    assert (number(picture(last)), last.place.text) == (77, f"picture {decoded.total}")
    assert decoded.partly is None


def test_what_is_not_drawn_is_said(decoder: SandboxDecoder) -> None:
    """HTML, scripts, motion and style sheets make it one that is judged in part; pictures in them are judged."""
    picture_address = address(saved(numbered(77), "PNG"))
    html = f'<foreignObject width="9" height="9"><img xmlns="urn:x" src="{picture_address}"/></foreignObject>'
    decoded = drawn(decoder, svg(CIRCLE + html))
    assert decoded.partly == "unsupported: HTML in a drawing is not shown"
    assert 77 in [number(picture(frame)) for frame in decoded.frames]
    for part in (
        "<script>1</script>",
        '<circle r="9"><animate attributeName="r" to="99"/></circle>',
        "<style>@key<![CDATA[frames]]> a { }</style>",
        "<style>@import 'other.css';</style>",
        "<?xml-stylesheet href='a'?>",
    ):
        partly = drawn(decoder, svg(CIRCLE + part)).partly
        assert partly is not None
        assert partly.startswith("unsupported: ")


# --- nothing of this machine, nothing of the network


def test_no_file_is_read(decoder: SandboxDecoder, tmp_path: Path) -> None:
    """Whatever way a drawing names a file, it is not shown; the same bytes embedded are, so the test can fail."""
    file = tmp_path / "red.png"
    file.write_bytes(saved(Image.new("RGB", (160, 96), RED), "PNG"))
    inner = tmp_path / "red.svg"
    inner.write_bytes(svg('<rect id="a" width="160" height="96" fill="#dc1e1e"/>'))
    assert at(drawn(decoder, svg(embedded(file.read_bytes()))).frames[0], 0.5, 0.5) == RED
    bodies = []
    for target in (file, inner):
        relative = os.path.relpath(target, "/")  # a child works in the root
        for href in (str(target), f"file://{target}", relative, f"/proc/self/root{target}"):
            image = f'<image width="160" height="96" xlink:href="{href}"/>'
            nested = base64.b64encode(svg(image)).decode()
            bodies += [
                image,
                image.replace("xlink:", ""),
                f'<use xlink:href="{href}#a"/>',
                f'<filter id="f"><feImage href="{href}"/></filter><rect width="160" height="96" filter="url(#f)"/>',
                f'<image width="160" height="96" href="data:image/svg+xml;base64,{nested}"/>',
                f'<pattern id="p" width="1" height="1">{image}</pattern><rect width="160" height="96" fill="url(#p)"/>',
                f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{href}"/>',
            ]
    for body in bodies:
        for frame in drawn(decoder, svg(body)).frames:
            assert at(frame, 0.5, 0.5) != RED, body


def test_external_entities_are_refused(decoder: SandboxDecoder) -> None:
    """Nothing is put in for them."""
    for where in ("file:///etc/passwd", "http://127.0.0.1:9/x"):
        with pytest.raises(Unscannable) as caught:
            drawn(decoder, svg("<text>&a;</text>", before=f"<!DOCTYPE svg [<!ENTITY a SYSTEM '{where}'>]>"))
        assert caught.value.reason in (Reason.CORRUPT, Reason.UNSUPPORTED)


def test_nothing_is_fetched(decoder: SandboxDecoder) -> None:
    """A server that is named in every way hears nothing."""
    asked: list[str] = []

    class Listening(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.png"
        image = f'<image width="160" height="96" xlink:href="{url}"/><style>@import url({url});</style>'
        drawn(decoder, svg(image + f'<use href="{url}#a"/>', before=f"<?xml-stylesheet href='{url}'?>"))
        server.shutdown()
    assert asked == []


# --- bombs and damage


def _uses(levels: int) -> str:
    groups = (f'<g id="a{i}">' + f'<use xlink:href="#a{i - 1}"/>' * 10 + "</g>" for i in range(1, levels))
    return f'<defs><rect id="a0" width="9" height="9"/>{"".join(groups)}</defs><use xlink:href="#a{levels - 1}"/>'


_LAUGHS = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
_BOMBS = {
    "uses": (svg(_uses(10)), Reason.TOO_LARGE),
    "entities": (svg("&a9;", before=f'<!DOCTYPE svg [<!ENTITY a0 "xxxxxxxxxx">{_LAUGHS}]>'), Reason.TOO_LARGE),
    "depth": (svg("<g>" * 100_000 + "</g>" * 100_000), Reason.TOO_LARGE),
    "elements": (svg("<g/>" * 300_000), Reason.TOO_LARGE),
    "filter": (
        svg(
            '<filter id="f"><feTurbulence baseFrequency="0.5" numOctaves="100000000"/></filter>'
            '<rect width="160" height="96" filter="url(#f)"/>'
        ),
        Reason.TOO_SLOW,
    ),
}


@pytest.mark.parametrize(
    "bomb", [pytest.param(bomb, marks=pytest.mark.long) if bomb == "filter" else bomb for bomb in _BOMBS]
)
def test_bombs(decoder: SandboxDecoder, bomb: str) -> None:
    """Each has its reason soon, and the next drawing is judged."""
    data, reason = _BOMBS[bomb]
    start = time.monotonic()
    with pytest.raises(Unscannable) as caught:
        drawn(decoder, data)
    assert caught.value.reason is reason
    assert time.monotonic() - start < 15  # 2 s of processor time at most, on a machine that does other things too
    assert at(drawn(decoder, svg(CIRCLE)).frames[0], 0.5, 0.5) == RED


_MANY = "".join(f".a:not(.x{number}){{fill:red}}" for number in range(3000))
_TURNS = "".join(f"--v{number}:" + f"var(--v{number + 1}) " * 100 + ";" for number in range(12))
_STYLE_BOMBS = {
    "rules": f"<style>{_MANY}</style>" + "<g class='a'/>" * 20_000,
    "has": "<style>:has(:has(:has(x))) a{fill:red}</style>" + "<g>" * 200 + "<a/>" * 5000 + "</g>" * 200,
    "variables": f"<g style='{_TURNS}--v12:;fill:var(--v0)'/>",
    "brackets": f'<g fill="{"(" * 100_000}"/>',
    "selectors": f"<style>{':is(' * 2000}a{')' * 2000}{{fill:red}}</style>",
    "rules in rules": f"<style>{'.a{' * 5000}fill:red{'}' * 5000}</style>",
    "colours": "".join(f'<g fill="hsl({number}deg 1% 1%)"/>' for number in range(60_000)),
}


@pytest.mark.long
@pytest.mark.parametrize("bomb", _STYLE_BOMBS)
def test_style_bombs(decoder: SandboxDecoder, bomb: str) -> None:
    """The drawing is shown soon, without the style that takes too long, and says so."""
    start = time.monotonic()
    decoded = drawn(decoder, svg(CIRCLE + _STYLE_BOMBS[bomb]))
    assert at(decoded.frames[0], 0.5, 0.5) == RED
    assert decoded.partly is not None
    assert decoded.partly.startswith("unsupported: ")
    assert time.monotonic() - start < 15


@pytest.mark.long
def test_a_bomb_does_not_hide_what_is_inside(decoder: SandboxDecoder) -> None:
    """Pictures are judged before the drawing is tried, and the object says that it was not."""
    filter_bomb = _BOMBS["filter"][0].decode().replace("</svg>", f"{embedded(saved(numbered(77), 'PNG'))}</svg>")
    decoded = drawn(decoder, filter_bomb.encode())
    assert [number(picture(frame)) for frame in decoded.frames] == [77]
    assert decoded.partly is not None
    assert decoded.partly.startswith("too_slow: ")


@pytest.mark.long
def test_a_bomb_inside(decoder: SandboxDecoder) -> None:
    """A picture over the cap has its reason, or ends the child; the rest of the drawing is judged in either case."""
    bomb = saved(Image.new("1", (30_000, 30_000)), "PNG")
    decoded = drawn(decoder, svg(embedded(saved(numbered(77), "PNG")) + embedded(bomb, more='opacity="0"')))
    assert 77 in [number(picture(frame)) for frame in decoded.frames]
    assert decoded.partly is not None
    assert decoded.partly.split(":")[0] in ("too_large", "too_slow", "decoder_crashed")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (svg(CIRCLE)[:-20], Reason.TRUNCATED),
        (svg(CIRCLE, attributes='width="0" height="0"'), Reason.CORRUPT),
        (svg(CIRCLE, before="<?xml version='1.0' encoding='klingon'?>"), Reason.UNSUPPORTED),
        (svg(CIRCLE, before="<?xml version='1.0' encoding='punycode'?>"), Reason.UNSUPPORTED),
    ],
    ids=["cut before anything", "nothing", "encoding", "slow encoding"],
)
def test_damage_is_named(decoder: SandboxDecoder, data: bytes, reason: Reason) -> None:
    """Typed reasons, as for any medium."""
    with pytest.raises(Unscannable) as caught:
        drawn(decoder, data)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (svg(CIRCLE)[:-6], "truncated"),
        (svg(CIRCLE + "<rect/><rect/>")[:-12], "truncated"),
        (svg(CIRCLE + "<rect/><g id='a b"), "corrupt"),
        (svg(CIRCLE).replace(b"</svg>", b"</g></svg>"), "corrupt"),
        (svg(CIRCLE + "<rect width=1 />"), "corrupt"),
        (svg(CIRCLE + "&nothing;<rect/>"), "corrupt"),
        (svg(CIRCLE, before="<?xml version='1.0' encoding='utf-8'?>").replace(b"<rect", b"\xff<rect"), "corrupt"),
    ],
    ids=["end", "element", "attribute", "crossed", "attribute without quotes", "entity", "bytes"],
)
def test_what_is_left_of_a_damaged_drawing(decoder: SandboxDecoder, data: bytes, reason: str) -> None:
    """Browsers show it as far as its text can be read."""
    decoded = drawn(decoder, data)
    assert at(decoded.frames[0], 0.5, 0.5) == RED
    assert decoded.partly is not None
    assert decoded.partly.startswith(f"{reason}: ")


def test_damage_never_surprises(decoder: SandboxDecoder) -> None:
    """Flipped bytes give frames or a reason, and no child is lost."""
    random = Random(7)
    sample = svg(CIRCLE + embedded(saved(numbered(1), "PNG")) + "<g style='fill:red'><path d='M0 0L9 9Z'/></g>")
    for _ in range(examples(120)):
        changed = bytearray(sample)
        for _ in range(random.randrange(1, 6)):
            changed[random.randrange(len(changed))] = random.randrange(256)
        try:
            decoder.decode(bytes(changed), MediaType.SVG)
        except Unscannable as refusal:
            assert refusal.reason in (Reason.CORRUPT, Reason.TRUNCATED, Reason.UNSUPPORTED, Reason.NOT_MEDIA)


@pytest.mark.long
def test_an_operator_may_leave_drawings_out() -> None:
    """`limits.svg` closes the door, and another version of the decoder's mark says so."""
    with SandboxDecoder(Caps(svg="unsupported")) as closed, SandboxDecoder() as open_:
        with pytest.raises(Unscannable, match=r"limits\.svg") as caught:
            closed.decode(svg(CIRCLE), MediaType.SVG)
        assert closed.version != open_.version
    assert caught.value.reason is Reason.UNSUPPORTED
    with pytest.raises(ValueError, match="svg"):
        Caps(svg="maybe")
