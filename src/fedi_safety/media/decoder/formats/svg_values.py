"""Values of a drawing's style: which resvg knows, and how what else browsers know is written for it.

What stands in `svg_known` is the whole list. A property or value that is neither on it nor can be put in other words
makes the drawing one that is judged in part. Text only, nothing is drawn; runs in the child only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import tinycss2
import tinycss2.color3
import tinycss2.color4
import tinycss2.color5

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.decoder.formats.svg_known import (
    COLOURS,
    FUNCTIONS_OF_FILTERS,
    INHERITED,
    INITIAL,
    LENGTH_ATTRIBUTES,
    LENGTHS,
    MEANT_FOR_ALL,
    ONLY,
    ONLY_A_COLOUR,
    OTHERS,
    SHARES,
    VENDOR,
    WITHOUT_EFFECT,
)

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SHARE = re.compile(rf"{_NUMBER}%?|inherit")
_LENGTH = rf"{_NUMBER}(?:px|pt|pc|em|ex|mm|cm|in|%)?"
_PLAIN_LENGTHS = re.compile(rf"{_LENGTH}(?:(?:\s*,\s*|\s+){_LENGTH})*|none|inherit|auto")
_REFERENCE = r"url\(\s*(?:#[^()\s\"'\\]+|\"#[^()\"\\]+\"|'#[^()'\\]+')\s*\)"
_PLAIN_COLOUR = (
    r"#(?:[0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})|none|currentColor|inherit|context-fill|context-stroke"
    r"|rgba?\(\s*[\d.]{1,9}\s*(?:,\s*[\d.]{1,9}\s*){2,3}\)"
)
_COLOUR = re.compile(rf"(?:{_REFERENCE}\s*)?(?:{_PLAIN_COLOUR})|{_REFERENCE}")
_WORDS = re.compile(rf"(?:[a-z][a-z-]*|{_NUMBER}|{_REFERENCE})(?:\s+(?:[a-z][a-z-]*|{_NUMBER}))*")
_MATRIX = re.compile(
    rf"none|(?:(?:matrix|translate|scale|rotate|skewX|skewY)\s*\(\s*{_NUMBER}(?:(?:\s*,\s*|\s+){_NUMBER})*\s*\)[\s,]*)+"
)

_ORIGIN = re.compile(rf"{_NUMBER}(?:px)?\s+{_NUMBER}(?:px)?")

_PIXELS = {"px": 1.0, "pt": 96 / 72, "pc": 16.0, "in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4, "q": 96 / 101.6}
_DEGREES = {"deg": 1.0, "grad": 0.9, "rad": 180 / math.pi, "turn": 360.0}
_OF_THE_WINDOW = re.compile(r"[sld]?v(w|h|i|b|min|max)")
_LONGEST_GLANCE = 512  # characters
_LONGEST = 4096
_DEEPEST = 24  # functions in functions


def plain(name: str, value: str) -> bool:
    """Whether resvg draws a property as browsers do, told at a glance. Most are, of most drawings."""
    return len(value) <= _LONGEST_GLANCE and _plain(name, value.strip())


@lru_cache(4096)
def _plain(name: str, value: str) -> bool:
    if not value:
        return True
    if name in COLOURS:
        return _COLOUR.fullmatch(value) is not None or _is_named(value)
    if name in SHARES:
        return _SHARE.fullmatch(value) is not None
    if name == "font-size" and _WORDS.fullmatch(value):
        return True
    if name in LENGTHS or name in LENGTH_ATTRIBUTES:
        return _PLAIN_LENGTHS.fullmatch(value) is not None
    if name == "transform":
        return _MATRIX.fullmatch(value) is not None
    if name == "transform-origin":
        return _ORIGIN.fullmatch(value) is not None
    if name in ONLY:
        return value in ONLY[name]
    if name in OTHERS:
        return name != "d" and _WORDS.fullmatch(value) is not None
    return without_effect(name)


def _is_named(value: str) -> bool:
    """Whether it is a colour's name that is as old as SVG."""
    found = tinycss2.color3.parse_color(value) if value.isalpha() and value != "rebeccapurple" else None
    return found is not None and not isinstance(found, str)


def without_effect(name: str) -> bool:
    """Whether a property changes nothing of what is drawn here."""
    return WITHOUT_EFFECT.fullmatch(name) is not None


def bare_name(name: str) -> str:
    """Return a property's name: lower case unless it is a variable's, without a vendor's mark that means nothing."""
    return name if name.startswith("--") else VENDOR.sub("", name.lower())


class Unknown(Unscannable):
    """A value that resvg does not know, and that cannot be put in other words. The detail says which."""

    def __init__(self, what: str) -> None:
        super().__init__(Reason.UNSUPPORTED, what)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lengths depend on: pixels of the drawing's window, and of the letters of its root."""

    width: float
    height: float
    letters: float = 16.0


def written(name: str, tokens: Sequence[Any], where: Surroundings) -> str:
    """Return a property's value, parsed, as resvg knows it. Raises `Unknown`."""
    tokens = [token for token in tokens if token.type != "comment"]
    text = str(tinycss2.serialize(tokens)).strip()
    if plain(name, text):
        return text
    if len(text) > _LONGEST and name != "d":
        raise Unknown(f"a value for {name} so long")
    lowered = text.lower()
    if lowered in MEANT_FOR_ALL:
        if lowered != "initial" and name in INHERITED:
            return "inherit"
        if name in INITIAL:
            return INITIAL[name]
        raise Unknown(f"`{lowered}` for {name}")
    if name in COLOURS:
        return _paint(tokens)
    if name in SHARES:
        return _number(_quantity(_single(tokens), where), ("", "%"))
    if name in LENGTHS or name in LENGTH_ATTRIBUTES:
        return _lengths(tokens, where)
    if name == "transform":
        return transform(tokens, where)
    if name == "transform-origin":
        origin = _lengths(tokens, where)
        if _ORIGIN.fullmatch(origin):
            return origin
    if name == "d":
        return _path(tokens)
    if name in ONLY and lowered in ONLY[name]:
        return lowered
    if name in ONLY_A_COLOUR:
        colour(_single(tokens))
        return ""
    if name in OTHERS:
        return _others(name, tokens, text)
    raise Unknown(f"the property {name}")


def _others(name: str, tokens: Sequence[Any], text: str) -> str:
    """Return words in lower case; functions only where they are known."""
    allowed = FUNCTIONS_OF_FILTERS if name == "filter" else frozenset()
    for token in tokens:
        if token.type == "function":
            if token.lower_name not in allowed | {"url"} or any(_is_function(inner) for inner in token.arguments):
                raise Unknown(f"{token.name}()")
        elif token.type not in ("ident", "number", "percentage", "whitespace", "url", "literal", "dimension"):
            raise Unknown(f"{name}: {text[:40]}")
    pieces = (tinycss2.serialize([token]) for token in tokens)
    return "".join(
        piece.lower() if token.type == "ident" else piece for token, piece in zip(tokens, pieces, strict=True)
    ).strip()


def _is_function(token: Any) -> bool:
    return bool(token.type == "function")


def _single(tokens: Sequence[Any]) -> Any:
    there = [token for token in tokens if token.type != "whitespace"]
    if len(there) != 1:
        raise Unknown(tinycss2.serialize(tokens).strip()[:40])
    return there[0]


def _path(tokens: Sequence[Any]) -> str:
    token = _single(tokens)
    if token.type == "ident" and token.lower_value == "none":
        return ""
    strings = [inner for inner in getattr(token, "arguments", ()) if inner.type == "string"]
    if token.type != "function" or token.lower_name != "path" or len(strings) != 1:
        raise Unknown("a path that is no `path()`")
    return str(strings[0].value)


# --- colours


def _paint(tokens: Sequence[Any]) -> str:
    """Return a colour, or a reference and the colour that stands in for it."""
    there = [token for token in tokens if token.type != "whitespace"]
    before = ""
    if there and there[0].type == "url":
        before = f'url("{there[0].value}") '
        there = there[1:]
        if not there:
            return before.strip()
    if len(there) != 1:
        raise Unknown(f"the colour {tinycss2.serialize(tokens).strip()[:40]}")
    return before + colour(there[0])


def colour(token: Any) -> str:
    """Return a colour as resvg knows it. Raises `Unknown`."""
    if token.type == "ident" and token.lower_value in ("none", "inherit", "context-fill", "context-stroke"):
        return str(token.lower_value)
    text = tinycss2.serialize([token])
    try:
        found = tinycss2.color5.parse_color(text)
        if found is None and token.type == "function" and token.lower_name == "color-mix":
            return _hex(_mixed(token))
        if found == "currentcolor":
            return "currentColor"
        if found is None:
            raise Unknown(f"the colour {text[:40]}")
        return _hex(_srgb(found))
    except (NotImplementedError, ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise Unknown(f"the colour {text[:40]}") from error


_Rgba = tuple[float, float, float, float]
# From XYZ (D65) to linear sRGB, from D50 to D65, and from linear Display P3 to XYZ (CSS Color 4).
_TO_RGB = (
    (3.2409699419045226, -1.537383177570094, -0.4986107602930034),
    (-0.9692436362808796, 1.8759675015077202, 0.04155505740717559),
    (0.05563007969699366, -0.20397695888897652, 1.0569715142428786),
)
_TO_D65 = (
    (0.955473421488075, -0.02309845494876471, 0.06325924320057072),
    (-0.0283697093338637, 1.0099953980813041, 0.021041441191917323),
    (0.012314014864481998, -0.020507649298898964, 1.330365926242124),
)
_P3_TO_XYZ = (
    (0.4865709486482162, 0.26566769316909306, 0.1982172852343625),
    (0.2289745640697488, 0.6917385218365064, 0.079286914093745),
    (0.0, 0.04511338185890264, 1.043944368900976),
)
_D50_SPACES = frozenset({"lab", "lch", "prophoto-rgb", "xyz-d50"})


def _srgb(found: Any) -> _Rgba:
    """Return a colour's parts in sRGB, from 0 to 1; what no screen shows is cut off."""
    if found.space in ("srgb", "hsl", "hwb"):
        red, green, blue = (part or 0.0 for part in found.to("srgb").coordinates)
        return red, green, blue, found.alpha
    if found.space == "srgb-linear":
        linear = [part or 0.0 for part in found.coordinates]
    elif found.space == "display-p3":
        linear = _times(_TO_RGB, _times(_P3_TO_XYZ, [_linear(part or 0.0) for part in found.coordinates]))
    else:
        at_d50 = found.space in _D50_SPACES
        xyz = [part or 0.0 for part in found.to("xyz-d50" if at_d50 else "xyz-d65").coordinates]
        linear = _times(_TO_RGB, _times(_TO_D65, xyz) if at_d50 else xyz)
    red, green, blue = (_gamma(part) for part in linear)
    return red, green, blue, found.alpha


def _times(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def _gamma(part: float) -> float:
    return 12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def _hex(parts: _Rgba) -> str:
    """Return a colour in hexadecimal digits."""
    return "#" + "".join(f"{round(255 * min(1.0, max(0.0, part))):02x}" for part in parts)


def _mixed(token: Any) -> _Rgba:
    """Mix two colours in sRGB. In other spaces the result is another, and `Unknown`."""
    parts: list[list[Any]] = [[]]
    for inner in token.arguments:
        if inner == ",":
            parts.append([])
        elif inner.type not in ("whitespace", "comment"):
            parts[-1].append(inner)
    words = [getattr(inner, "lower_value", "") for inner in parts[0]]
    if len(parts) != 3 or words != ["in", "srgb"]:
        raise Unknown(tinycss2.serialize([token])[:40])
    colours: list[_Rgba] = []
    shares: list[float | None] = []
    for part in parts[1:]:
        shares.append(next((inner.value / 100 for inner in part if inner.type == "percentage"), None))
        colours.append(_srgb(tinycss2.color5.parse_color(next(inner for inner in part if inner.type != "percentage"))))
    first, second = shares
    first = first if first is not None else 1 - second if second is not None else 0.5
    second = second if second is not None else 1 - first
    total = first + second
    first, second = first / total, second / total
    alpha = first * colours[0][3] + second * colours[1][3]
    mixed = [
        (first * a * colours[0][3] + second * b * colours[1][3]) / (alpha or 1.0)
        for a, b in zip(colours[0][:3], colours[1][:3], strict=True)
    ]
    return mixed[0], mixed[1], mixed[2], alpha * min(1.0, total)


# --- lengths and sums

_Quantity = tuple[float, str]  # and its unit: none, `px`, `%`, or one that resvg knows


def _lengths(tokens: Sequence[Any], where: Surroundings) -> str:
    pieces = []
    for token in tokens:
        if token.type == "whitespace" or token == ",":
            continue
        if token.type == "ident" and token.lower_value in ("none", "inherit", "auto"):
            pieces.append(str(token.lower_value))
        else:
            pieces.append(_number(_quantity(token, where), ("", "px", "%", "em", "ex")))
    if not pieces:
        raise Unknown("a length that is missing")
    return " ".join(pieces)


def _number(quantity: _Quantity, units: Sequence[str]) -> str:
    number, unit = quantity
    if unit not in units or not math.isfinite(number):
        raise Unknown(f"the unit {unit or 'of a number'}")
    return f"{number:.8g}{unit}"


def _quantity(token: Any, where: Surroundings, depth: int = 0) -> _Quantity:
    """Return what a number, a length or a sum comes to. Raises `Unknown`."""
    if depth > _DEEPEST:
        raise Unknown("functions too deep in each other")
    if token.type == "number":
        return token.value, ""
    if token.type == "percentage":
        return token.value, "%"
    if token.type == "dimension":
        return _length(token.value, token.lower_unit, where)
    if token.type == "() block" or (token.type == "function" and token.lower_name in ("calc", "-webkit-calc")):
        return _sum(token.content if token.type == "() block" else token.arguments, where, depth)
    if token.type == "function" and token.lower_name in _CHOICES:
        given = [_sum(part, where, depth) for part in _split(token.arguments)]
        if {unit for _, unit in given} != {given[0][1]}:
            raise Unknown(f"{token.name}() of several units")
        return _CHOICES[token.lower_name]([number for number, _ in given]), given[0][1]
    raise Unknown(f"the length {tinycss2.serialize([token])[:40]}")


def _clamped(numbers: list[float]) -> float:
    if len(numbers) != 3:
        raise Unknown("clamp() of other than three values")
    return max(numbers[0], min(numbers[1], numbers[2]))


_CHOICES: dict[str, Callable[[list[float]], float]] = {"min": min, "max": max, "clamp": _clamped}


def _length(number: float, unit: str, where: Surroundings) -> _Quantity:
    if unit in _PIXELS:
        return number * _PIXELS[unit], "px"
    if unit in ("em", "ex"):
        return number, unit
    if unit == "rem":
        return number * where.letters, "px"
    window = _OF_THE_WINDOW.fullmatch(unit)
    if window is None:
        raise Unknown(f"the unit {unit[:20]}")
    sides = {
        "w": where.width,
        "i": where.width,
        "h": where.height,
        "b": where.height,
        "min": min(where.width, where.height),
        "max": max(where.width, where.height),
    }
    return number / 100 * sides[window[1]], "px"


def pixels(text: str) -> float:
    """Return a length in pixels; 0 where it is none, or relative to something."""
    try:
        number, unit = _quantity(_single(tinycss2.parse_component_value_list(text)), Surroundings(0, 0))
    except Unknown:
        return 0.0
    return number if unit in ("", "px") and math.isfinite(number) else 0.0


def _split(tokens: Sequence[Any]) -> list[list[Any]]:
    parts: list[list[Any]] = [[]]
    for token in tokens:
        if token == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _sum(tokens: Sequence[Any], where: Surroundings, depth: int) -> _Quantity:
    """Add up what calc() has in it: products first."""
    there = [token for token in tokens if token.type not in ("whitespace", "comment")]
    terms: list[_Quantity] = []
    sign, operator = 1.0, "+"
    for at, token in enumerate(there):
        if at % 2:
            if token.type != "literal" or token.value not in "+-*/":
                raise Unknown("a sum that cannot be read")
            operator = token.value
            continue
        number, unit = _quantity(token, where, depth + 1)
        if operator in "+-":
            sign = -1.0 if operator == "-" else 1.0
            terms.append((sign * number, unit))
            continue
        before, its_unit = terms.pop()
        if (unit and its_unit) or (unit and operator == "/") or (operator == "/" and not number):
            raise Unknown("a product that cannot be read")
        terms.append((before * number if operator == "*" else before / number, unit or its_unit))
    units = {unit for _, unit in terms}
    if len(there) % 2 == 0 or len(units) != 1:
        raise Unknown("a sum of several units")
    return sum(number for number, _ in terms), units.pop()


# --- transforms


def transform(tokens: Sequence[Any], where: Surroundings) -> str:
    """Return a transform of CSS, with its units, as one of SVG. Raises `Unknown`."""
    pieces = []
    for token in tokens:
        if token.type == "whitespace":
            continue
        if token.type == "ident" and token.lower_value == "none":
            return "none"
        if token.type != "function" or token.lower_name not in _TRANSFORMS:
            raise Unknown(f"the transform {tinycss2.serialize([token])[:40]}")
        least, most, kind, form = _TRANSFORMS[token.lower_name]
        given = [_argument(_single(part), kind, where) for part in _split(token.arguments)]
        if not least <= len(given) <= most:
            raise Unknown(f"{token.name}() of {len(given)} values")
        pieces.append(form(given))
    return " ".join(pieces)


def _argument(token: Any, kind: str, where: Surroundings) -> float:
    if token.type == "dimension" and kind == "angle" and token.lower_unit in _DEGREES:
        return float(token.value * _DEGREES[token.lower_unit])
    number, unit = _quantity(token, where)
    if unit == "%" and kind == "share":
        return number / 100
    if unit and not (unit == "px" and kind == "length"):
        raise Unknown(f"a transform with the unit {unit}")
    if not math.isfinite(number):
        raise Unknown("a transform without an end")
    return number


def _form(text: str) -> Callable[[list[float]], str]:
    """Return how a function is written: `@` stands for all its values, 0 and 1 for the first and second."""

    def form(given: list[float]) -> str:
        numbers = [f"{number:.8g}" for number in given]
        return text.replace("@", ",".join(numbers))

    return form


_TRANSFORMS: dict[str, tuple[int, int, str, Callable[[list[float]], str]]] = {
    "matrix": (6, 6, "number", _form("matrix(@)")),
    "translate": (1, 2, "length", _form("translate(@)")),
    "translatex": (1, 1, "length", _form("translate(@,0)")),
    "translatey": (1, 1, "length", _form("translate(0,@)")),
    "scale": (1, 2, "share", _form("scale(@)")),
    "scalex": (1, 1, "share", _form("scale(@,1)")),
    "scaley": (1, 1, "share", _form("scale(1,@)")),
    "rotate": (1, 1, "angle", _form("rotate(@)")),
    "rotatez": (1, 1, "angle", _form("rotate(@)")),
    "skewx": (1, 1, "angle", _form("skewX(@)")),
    "skewy": (1, 1, "angle", _form("skewY(@)")),
}
