"""Files that viewers show although something is wrong with them, or that they show in more ways than one; by code.

Each shows the subject of the zoo (`support.corpus.zoo.subject`): a red circle at a known place.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from support.corpus import media_zoo, moving
from support.corpus.media_zoo import chunk, saved
from support.corpus.moving import Piece
from support.corpus.zoo.subject import HEIGHT, SIZE, WIDTH, ground, subject

LARGE = 4 * WIDTH, 4 * HEIGHT


@dataclass(frozen=True, slots=True)
class Odd:
    """A file; `partly` is the reason why not all of it can be judged, empty if it can, None if it does not matter."""

    name: str
    data: bytes
    partly: str | None = ""
    where: tuple[int, int, int, int] | None = None  # in which part of a frame the subject is, if not in all of it


# --- stills that are cut or damaged


def cut_stills() -> Iterator[Odd]:
    """Yield stills without their end; most viewers show them as far as they go."""
    photo, drawn = saved(subject(size=LARGE), "JPEG", quality=90), saved(subject(size=LARGE), "PNG")
    progressive = saved(subject(size=LARGE), "JPEG", quality=90, progressive=True)
    yield Odd("JPEG, the last byte", photo[:-1], "truncated")
    yield Odd("JPEG, no end marker", photo[:-2], "truncated")
    yield Odd("JPEG, the last 15 %", photo[: len(photo) * 85 // 100], "truncated")
    yield Odd("JPEG, zeros behind a cut", photo[: len(photo) * 85 // 100] + bytes(2000), None)
    yield Odd("JPEG, progressive, no end marker", progressive[:-2], "truncated")
    yield Odd("JPEG, progressive, the last 40 %", progressive[: len(progressive) * 6 // 10], "truncated")
    header = progressive.rindex(b"\xff\xda")
    yield Odd("JPEG, progressive, cut in a scan's header", progressive[: header + 3], "truncated")
    yield Odd("JPEG, a segment whose length lies", photo[:2] + b"\xff\xe5\x00\x03" + photo[2:-1], "truncated")
    yield Odd("JPEG, cut, and broken EXIF", photo[:2] + b"\xff\xe1\x00\x0aExif\0\0MM" + photo[2:-1], "truncated")
    yield Odd("PNG, no end", drawn[:-12], None)
    yield Odd("PNG, half an end", drawn[:-5], None)
    noisy = _noisy(LARGE)
    for name, image in (("PNG", noisy), ("PNG, palette", noisy.quantize(64)), ("PNG, alpha", noisy.convert("RGBA"))):
        data = saved(image, "PNG")
        yield Odd(f"{name}, the last 15 %", data[: len(data) * 85 // 100], "truncated")
    small = np.asarray(_noisy(SIZE))
    for laced, percent in ((False, 90), (True, 90), (True, 60), (True, 15)):
        data = media_zoo.png(lambda x, y: tuple(int(value) for value in small[y, x]), 8, 2, b"", laced)
        name = f"PNG, interlaced {laced}, the last {100 - percent} %"
        yield Odd(name, data[: len(data) * percent // 100], "truncated")
    for interlace in (0, 1):
        data = saved(noisy.quantize(64), "GIF", interlace=interlace)
        yield Odd(f"GIF, interlaced {interlace}, the last 15 %", data[: len(data) * 85 // 100], "truncated")
    data = saved(noisy.quantize(64), "GIF", interlace=1)
    yield Odd("GIF, interlaced, the last 60 %", data[: len(data) * 4 // 10], "truncated")
    data = saved(subject(size=LARGE), "BMP")
    yield Odd("BMP, the last 15 %", data[: len(data) * 85 // 100], "truncated")
    yield Odd("BMP, runs, the last 15 %", _runs()[:-1500], "truncated")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        data = _tiff_directory_first(noisy, compression)
        yield Odd(f"TIFF, {compression}, the last 15 %", data[: len(data) * 85 // 100], "truncated")


def _runs() -> bytes:
    """Write the subject as a run-length coded BMP, upside down as they are, each pixel a run."""
    few = subject().quantize(8)
    colours = [(*(few.getpalette() or [])[3 * at : 3 * at + 3][::-1], 0) for at in range(8)]
    rows = (b"".join(bytes((1, value)) for value in row) + b"\0\0" for row in np.asarray(few)[::-1])
    table = b"".join(map(bytes, colours)) + bytes(4 * 248)
    return media_zoo.bmp(8, 1, b"".join(rows) + b"\0\1", colours=table)


def _noisy(size: tuple[int, int]) -> Image.Image:
    """Draw the subject so that its rows take about as many bytes each."""
    return Image.blend(subject(size=size), Image.effect_noise(size, 40).convert("RGB"), 0.2)


def _tiff_directory_first(image: Image.Image, compression: str) -> bytes:
    """Write a TIFF in strips whose directory stands before them, as cameras and scanners do."""
    made = io.BytesIO()
    image.save(made, "TIFF", compression=compression, strip_size=WIDTH * 4 * 3 * 16)
    data = made.getvalue()
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    entries = [struct.unpack_from(order + "HHII", data, at + 2 + 12 * number) for number in range(count)]
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}
    values: dict[int, bytes] = {}
    for number, (tag, kind, length, value) in enumerate(entries):
        size = sizes[kind] * length
        inline = data[at + 2 + 12 * number + 8 : at + 2 + 12 * number + 12]
        values[tag] = inline[:size] if size <= 4 else data[value : value + size]

    def numbers(tag: int, kind: int) -> tuple[int, ...]:
        form = "H" if kind == 3 else "I"
        return struct.unpack(f"{order}{len(values[tag]) // sizes[kind]}{form}", values[tag])

    kinds = {tag: kind for tag, kind, _, _ in entries}
    offsets, lengths = numbers(273, kinds[273]), numbers(279, kinds[279])
    entries = [(tag, 4 if tag == 273 else kind, length, value) for tag, kind, length, value in entries]
    values[273] = bytes(4 * len(offsets))
    beyond = 8 + 2 + 12 * count + 4
    strips_at = beyond + sum(len(value) + len(value) % 2 for value in values.values() if len(value) > 4)
    moved, place = [], strips_at
    for length in lengths:
        moved.append(place)
        place += length
    values[273] = struct.pack(f"{order}{len(moved)}I", *moved)
    head, rest = struct.pack(order + "H", count), b""
    for tag, kind, length, _ in entries:
        value = values[tag]
        if len(value) > 4:
            head += struct.pack(order + "HHII", tag, kind, length, beyond + len(rest))
            rest += value + bytes(len(value) % 2)
        else:
            head += struct.pack(order + "HHI", tag, kind, length) + value.ljust(4, b"\0")
    strips = b"".join(data[offset : offset + length] for offset, length in zip(offsets, lengths, strict=True))
    return data[:4] + struct.pack(order + "I", 8) + head + bytes(4) + rest + strips


def damaged_webps() -> Iterator[Odd]:
    """Yield WebP that is cut or damaged in its picture data; the rows before that are shown."""
    for name, options in (("lossy", {"quality": 90}), ("lossless", {"lossless": True})):
        data = saved(_noisy(LARGE), "WEBP", **options)
        cut = len(data) * 85 // 100
        yield Odd(f"WebP, {name}, the last 15 %", data[:cut], "truncated")
        if name == "lossless":  # of a lossy one garbage is shown, too
            yield Odd(f"WebP, {name}, zeros behind a cut", data[:cut] + bytes(len(data) - cut), None)
    frames = [ground(3), ground(6), subject()]
    moved = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    at = moved.index(b"ANMF")
    lies = moved[: at + 4] + b"\xff\xff\xff\x0f" + moved[at + 8 :]
    yield Odd("WebP that moves, a frame whose length lies", lies, "truncated")
    odd = moved[:at] + b"ODD " + b"\xff\xff\xff\x0f" + moved[at:]
    yield Odd("WebP that moves, a chunk whose length lies", odd, "corrupt")


def damaged_pngs() -> Iterator[Odd]:
    """Yield PNG with damage outside the pixels, or in sums over them."""
    whole = saved(subject(), "PNG")
    profile = b"x\0\0" + zlib.compress(media_zoo.srgb_profile())
    for kind, body in (
        (b"iCCP", profile),
        (b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
        (b"gAMA", struct.pack(">I", 45455)),
        (b"pHYs", bytes(9)),
        (b"tRNS", bytes(6)),
        (b"tEXt", b"Title\0x"),
        (b"zTXt", b"Title\0\0nothing"),
        (b"sRGB", b"\0"),
    ):
        broken = chunk(kind, body)
        broken = broken[:-1] + bytes([broken[-1] ^ 1])
        yield Odd(f"PNG, checksum of {kind.decode()}", whole[:33] + broken + whole[33:])
    yield Odd("PNG, long tRNS", whole[:33] + chunk(b"tRNS", bytes(300)) + whole[33:])
    yield Odd("PNG, short tRNS", whole[:33] + chunk(b"tRNS", bytes(1)) + whole[33:])
    yield Odd("PNG, broken profile", whole[:33] + chunk(b"iCCP", b"x\0\0nothing") + whole[33:])
    header = bytearray(whole)
    header[32] ^= 1
    yield Odd("PNG, checksum of the header", bytes(header), None)
    at = whole.index(b"IDAT")
    size = int.from_bytes(whole[at - 4 : at], "big")
    pixels = whole[at + 4 : at + 4 + size]
    wrong = pixels[:-1] + bytes([pixels[-1] ^ 1])
    yield Odd("PNG, sum over the pixels", whole[: at - 4] + chunk(b"IDAT", wrong) + whole[at + 8 + size :], None)
    small = np.asarray(subject())
    laced = bytearray(media_zoo.png(lambda x, y: tuple(int(value) for value in small[y, x]), 8, 2, b"", True))
    laced[-17] ^= 1
    yield Odd("PNG, interlaced, sum over the pixels", bytes(laced), None)
    yield Odd("PNG, no sum over them", whole[: at - 4] + chunk(b"IDAT", pixels[:-4]) + whole[at + 8 + size :], None)
    end = at + 4 + size
    yield Odd("PNG, checksum of the pixels", whole[:end] + b"\0\0\0\0" + whole[end + 4 :], None)
    yield Odd("PNG, a byte less behind the pixels", whole[: end + 3] + whole[end + 4 :], None)
    rows = bytearray(zlib.decompress(pixels))
    rows[0] = 99
    wrong = chunk(b"IDAT", zlib.compress(rows))
    yield Odd("PNG, a filter that does not exist", whole[: at - 4] + wrong + whole[at + 8 + size :], "corrupt")


# --- sizes and positions that viewers do not agree on


def _screened(pieces: Sequence[Piece], size: tuple[int, int], screen: tuple[int, int]) -> bytes:
    data = moving.gif(pieces, size)
    return data[:6] + struct.pack("<HH", *screen) + data[10:]


def odd_gifs() -> Iterator[Odd]:
    """Yield GIF whose screen and frames do not fit each other."""
    whole = [Piece(subject().convert("RGBA")), Piece(ground(3).convert("RGBA"))]
    for screen in ((16, 16), (0, 0), (0, HEIGHT), (WIDTH, 0), (WIDTH, 8), (1, 1)):
        yield Odd(f"GIF of two frames, screen {screen}", _screened(whole, SIZE, screen))
        yield Odd(f"GIF of one frame, screen {screen}", _screened(whole[:1], SIZE, screen))
    later = [Piece(ground(3, (16, 16)).convert("RGBA")), Piece(subject().convert("RGBA"))]
    yield Odd("GIF, a later frame is larger", _screened(later, (16, 16), (16, 16)))
    far = [Piece(ground(3).convert("RGBA")), Piece(subject().convert("RGBA"), x=WIDTH, y=HEIGHT)]
    data = _screened(far, SIZE, SIZE)
    yield Odd("GIF, a frame outside", data, where=(WIDTH, HEIGHT, 2 * WIDTH, 2 * HEIGHT))
    wide = Image.new("RGBA", (WIDTH * 8, HEIGHT * 8), (170, 170, 170, 255))
    wide.paste(subject(), (0, 0))
    small = [Piece(ground(3).convert("RGBA")), Piece(wide)]
    yield Odd("GIF, cut to its screen", _screened(small, SIZE, SIZE))


def turned() -> Iterator[Odd]:
    """Yield pictures that some viewers turn as their EXIF says, and others show as they are stored: both ways."""
    for kind, options in (("WEBP", {"quality": 90}), ("PNG", {})):
        for orientation in (2, 3, 5, 6, 8):
            exif = media_zoo.exif(orientation)
            yield Odd(
                f"{kind}, stored upright, orientation {orientation}", saved(subject(), kind, exif=exif, **options)
            )
            image = media_zoo.stored(orientation, subject())
            yield Odd(f"{kind}, to be turned, orientation {orientation}", saved(image, kind, exif=exif, **options))
            for name, first, second in (
                ("stored upright", subject(), ground(3)),
                ("to be turned", image, media_zoo.stored(orientation, ground(3))),
            ):
                frames = {"save_all": True, "append_images": [second], "duration": 100}
                data = saved(first, kind, exif=exif, **frames, **options)
                yield Odd(f"{kind} that moves, {name}, orientation {orientation}", data)


def repacked() -> Iterator[Odd]:
    """Yield a JXL made of a JPEG, of which what would make a JPEG of it again is damaged."""
    data = media_zoo.repacked_jpeg(1, subject())
    at = data.index(b"jbrd") + 8
    yield Odd("JXL, no way back to its JPEG", data[:at] + bytes(8) + data[at + 8 :], "corrupt")


def headless_clips() -> Iterator[Odd]:
    """Yield clips that begin with something else than they should, which players pass over."""
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}  # they count from themselves on
    data = moving.clip("mp4", "libx264", [subject(), ground(3)], container_options=fragments)
    yield Odd("MP4, a damaged first box", data[:5] + b"\0" + data[6:])
    yield Odd("MP4, a box of its own first", struct.pack(">I", 16) + b"mine" + bytes(8) + data)


def icons() -> Iterator[Odd]:
    """Yield icons with PNG and BMP inside."""
    image = subject().convert("RGBA")
    yield Odd("ICO, PNG", saved(image, "ICO", sizes=[SIZE]))
    yield Odd("ICO, BMP", saved(image, "ICO", sizes=[SIZE], bitmap_format="bmp"))
    bitmap = bytearray(saved(image, "ICO", sizes=[SIZE], bitmap_format="bmp"))
    pixels = 22 + 40
    bitmap[pixels + 3 : pixels + 4 * WIDTH * HEIGHT : 4] = bytes(WIDTH * HEIGHT)
    yield Odd("ICO, BMP, nothing in its alpha", bytes(bitmap))
    lying = bytearray(saved(image, "ICO", sizes=[SIZE], bitmap_format="bmp"))
    lying[6:8] = b"\x01\x01"
    yield Odd("ICO, a size that lies", bytes(lying))
    data = saved(subject().convert("RGBA"), "ICO", sizes=[SIZE])
    small = saved(ground().resize((16, 16)).convert("RGBA"), "ICO", sizes=[(16, 16)])
    entries = small[6:18] + struct.pack("<I", 38) + data[6:18] + struct.pack("<I", 38 + len(small) - 22)
    yield Odd("ICO, of several sizes", b"\0\0\1\0\2\0" + entries + small[22:] + data[22:])


# --- drawings


def _svg(body: str, *, root: str = "", style: str = "", before: str = "") -> bytes:
    """Write the subject's ground, with `body` on it."""
    sheet = f"<style>{style}</style>" if style else ""
    text = (
        f'{before}<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 64" width="96" height="64" {root}>{sheet}'
        f'<rect width="96" height="64" fill="#aaa"/>{body}</svg>'
    )
    return text.encode()


RED = "#d42428"
_AT = 'cx="32" cy="26" r="16"'


def drawings() -> Iterator[Odd]:
    """Yield drawings that resvg by itself does not draw as browsers do, and that can be written in its words."""
    for unit, factor in (("mm", 25.4 / 96), ("cm", 2.54 / 96), ("in", 1 / 96), ("pt", 0.75), ("pc", 1 / 16)):
        a, b, c = (f"{value * factor:.5f}{unit}" for value in (32, 26, 16))
        yield Odd(f"SVG, {unit}", _svg(f'<circle cx="{a}" cy="{b}" r="{c}" fill="{RED}"/>'))
        yield Odd(f"SVG, {unit}, CSS", _svg(f'<circle style="cx:{a};cy:{b};r:{c};fill:{RED}"/>'))
    for unit, factor in (("Q", 101.6 / 96), ("rem", 1 / 16), ("vw", 100 / 96), ("vh", 100 / 64), ("vmin", 100 / 64)):
        a, b, c = (f"{value * factor:.5f}{unit}" for value in (32, 26, 16))
        yield Odd(f"SVG, {unit}", _svg(f'<circle cx="{a}" cy="{b}" r="{c}" fill="{RED}"/>'), None)
    for form in ("calc(10px + 2px*3)", "calc(32px/2)", "min(16px, 2in)", "clamp(1px, 16px, 99px)", "calc(-1*(-16px))"):
        yield Odd(f"SVG, {form}", _svg(f'<circle cx="32" cy="26" style="r:{form};fill:{RED}"/>'))
    for colour in (
        "hsl(359deg 71% 49%)",
        "hsl(0.997turn 71% 49% / 100%)",
        "hwb(359 14% 17%)",
        "rgb(212 36 40 / 1)",
        "rgb(83.1% 14.1% 15.7%)",
        "color(srgb 0.83 0.14 0.16)",
        "color(display-p3 0.77 0.21 0.2)",
        "lab(46 66 45)",
        "lch(46 80 34)",
        "oklab(0.57 0.19 0.1)",
        "oklch(0.57 0.215 26)",
        "color-mix(in srgb, #d42428 100%, blue)",
        "RGBA(212, 36, 40, 100%)",
        "light-dark(#d42428, #aaa)",
        "var(--none, #d42428)",
    ):
        yield Odd(f"SVG, {colour}", _svg(f'<circle {_AT} fill="{colour}"/>'))
        yield Odd(f"SVG, style, {colour}", _svg(f'<circle {_AT} fill="#aaa" style="fill:{colour}"/>'))
    for name, style in _SHEETS.items():
        yield Odd(f"SVG, {name}", _svg(f'<g class="g"><circle id="i" class="a" {_AT} fill="#aaa"/></g>', style=style))
    yield Odd("SVG, variable of the root", _svg(f'<circle {_AT} fill="var(--c)"/>', root=f'style="--c:{RED}"'))
    yield Odd("SVG, variable of its own", _svg(f'<circle {_AT} style="--c:{RED};fill:var(--c)"/>'))
    yield Odd("SVG, capitals", _svg(f'<circle {_AT} style="FILL:{RED}"/>'))
    yield Odd("SVG, a value that is none", _svg(f'<circle {_AT} style="fill:{RED};fill:foo(1)"/>'), None)
    yield Odd("SVG, initial", _svg(f'<circle {_AT} fill="{RED}" style="opacity:0;opacity:initial"/>'))
    yield Odd(
        "SVG, path of CSS", _svg(f"<path style=\"d:path('M16 26a16 16 0 0 1 32 0a16 16 0 0 1-32 0z');fill:{RED}\"/>")
    )
    moved = f'<circle cx="0" cy="0" r="16" fill="{RED}" style="transform:{{}}"/>'
    for form in ("translate(32px,26px)", "translateX(32px) translateY(26px)", "translate(1in) translate(-4pc,26px)"):
        yield Odd(f"SVG, {form}", _svg(moved.format(form)))
    yield Odd("SVG, rotated", _svg(moved.format("translate(32px,26px) rotate(.5turn) scale(100%)")))
    hidden = f'<circle {_AT} fill="{RED}"/><rect width="96" height="64" fill="#aaa" {{}}/>'
    for form in ('display="NONE"', 'style="display:NONE"', 'style="opacity:calc(0)"', 'style="visibility:HIDDEN"'):
        yield Odd(f"SVG, a cover with {form}", _svg(hidden.format(form)))
    comment = "<!--" + "licence " * 1000 + "-->"
    yield Odd("SVG, a long comment first", _svg(f'<circle {_AT} fill="{RED}"/>', before=comment))
    entities = "".join(f'<!ENTITY ns{number} "http://example.org/{number}">' for number in range(200))
    doctype = f"<?xml version='1.0'?><!DOCTYPE svg [{entities}]>"
    yield Odd("SVG, many entities first", _svg(f'<circle {_AT} fill="{RED}"/>', before=doctype))
    yield Odd("SVG, blanks first", _svg(f'<circle {_AT} fill="{RED}"/>', before=" " * 6000))


_SHEETS = {
    "nesting": f".g{{ .a{{fill:{RED}}} }}",
    "nesting with &amp;": f".g{{ &amp; &gt; .a{{fill:{RED}}} }}",
    "deep nesting": f"svg{{ .g{{ color:{RED}; circle{{ &amp;.a{{fill:currentColor}} }} }} }}",
    ":not()": f"circle:not(.b){{fill:{RED}}}",
    ":is()": f":is(.b,.a){{fill:{RED}}}",
    ":where()": f"#i:where(.a){{fill:{RED}}}",
    ":root": f":root circle{{fill:{RED}}}",
    ":nth-child()": f"circle:nth-child(2n+1){{fill:{RED}}}",
    ":last-child": f"circle:last-child{{fill:{RED}}}",
    ":has()": f"g:has(circle) .a{{fill:{RED}}}",
    "siblings": f"rect~g .a{{fill:{RED}}}",
    "attribute": f'[id="I" i]{{fill:{RED}}}',
    "@media all": f".a{{fill:#aaa}} @media all{{.a{{fill:{RED}}}}}",
    "@media screen": f"@media only screen{{.a{{fill:{RED}}}}}",
    "@media print": f".a{{fill:{RED}}} @media print{{.a{{fill:#aaa}}}}",
    "variables": f":root{{--a:var(--b);--b:{RED}}} .a{{fill:var(--a)}}",
    "escapes": f".\\61{{fill:{RED}}}",
    "importance": f".a{{fill:{RED}!important}} #i{{fill:#aaa}}",
    "order": f"#i{{fill:{RED}}} .a{{fill:#aaa}}",
    "geometry": f".a{{fill:{RED};cx:32px;cy:26px;r:16px}}",
    "font face": f"@font-face{{font-family:x;src:url(x)}} .a{{fill:{RED}}}",
}


def odd_drawings() -> Iterator[Odd]:
    """Yield drawings that use more than can be written so: each must say that it is judged in part."""
    circle = f'<circle {_AT} fill="{RED}"/>'
    for name, body in {
        "script attribute": f'<g onload="1">{circle}</g>',
        "a picture elsewhere": f'{circle}<image width="9" height="9" href="a.png"/>',
        "zoom": f'<g style="zoom:2">{circle}</g>',
        "clip path": f'<g style="clip-path:circle(0)">{circle}</g>',
        "vector effect": f'<g vector-effect="non-scaling-stroke">{circle}</g>',
        "offset": f"<g style=\"offset-path:path('M0 0')\">{circle}</g>",
        "translate": f'<g style="translate:10px">{circle}</g>',
        "transform box": f'<g style="transform-box:fill-box">{circle}</g>',
        "3d": f'<g style="transform:rotate3d(1,0,0,90deg)">{circle}</g>',
        "percent of itself": f'<g style="transform:translate(10%)">{circle}</g>',
        "unknown unit": '<circle cx="32xyz" r="9"/>',
        "unknown colour": '<circle r="9" fill="foo(1)"/>',
        "unknown function": '<circle r="9" style="r:sin(1)"/>',
        "missing variable": '<circle r="9" fill="var(--x)"/>',
        "circle of variables": '<circle r="9" style="--a:var(--b);--b:var(--a);fill:var(--a)"/>',
        "mask of CSS": f'<g style="-webkit-mask-image:linear-gradient(red,blue)">{circle}</g>',
        "background": circle,
        "animation": f'<g style="animation:a 1s">{circle}</g>',
        "html link": f'<link xmlns="http://www.w3.org/1999/xhtml" rel="stylesheet" href="a.css"/>{circle}',
        "discard": f'{circle}<discard begin="1s"/>',
        "all": f'<g style="all:unset">{circle}</g>',
    }.items():
        root = 'style="background:url(x.png)"' if name == "background" else ""
        yield Odd(f"SVG, {name}", _svg(body, root=root), "unsupported")
    for rule in (
        "@media (min-width:1px){.a{fill:red}}",
        "@supports (fill:red){.a{fill:red}}",
        "@layer x{.a{fill:red}}",
        "@container (width>1px){.a{fill:red}}",
        "@keyframes a{}",
        "@import 'a.css';",
        "@property --x{}",
        "circle:foo(1){fill:red}",
        "@starting-style{.a{fill:red}}",
    ):
        yield Odd(f"SVG, {rule}", _svg(circle, style=rule.replace(">", "&gt;")), "unsupported")


def shown() -> Iterator[Odd]:
    """Yield all in which the subject must be seen."""
    for maker in (
        cut_stills,
        damaged_pngs,
        damaged_webps,
        odd_gifs,
        turned,
        repacked,
        headless_clips,
        icons,
        drawings,
    ):
        yield from maker()


def all_of_them() -> Iterator[Odd]:
    """Yield every file."""
    yield from shown()
    yield from odd_drawings()
