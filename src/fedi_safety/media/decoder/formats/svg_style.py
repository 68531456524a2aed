"""A drawing's style as browsers apply it, written into its elements so that resvg, which knows less CSS, draws it too.

Rules are matched and put in order as CSS says, custom properties are put in, values are written as resvg knows them,
and geometry that CSS gives becomes attributes. What cannot be written so is left out and named: the drawing is then
judged in part. Text only, nothing is drawn; runs in the child only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import cssselect2
import tinycss2

from fedi_safety.media.decoder.formats.svg_known import DRAWN, GEOMETRY, LENGTH_ATTRIBUTES
from fedi_safety.media.decoder.formats.svg_values import (
    Surroundings,
    Unknown,
    bare_name,
    pixels,
    plain,
    without_effect,
    written,
)

_MOST_RULES = 5000
_DEEPEST = 8  # rules in rules
_MOST_VARIABLES = 1000
_LONGEST_VALUE = 4096
# Elements of which CSS sets the place and the size; of the others these are no properties.
_PLACED = {
    "svg": frozenset({"x", "y", "width", "height"}),
    "image": frozenset({"x", "y", "width", "height"}),
    "foreignObject": frozenset({"x", "y", "width", "height"}),
    "use": frozenset({"x", "y", "width", "height"}),
    "rect": frozenset({"x", "y", "width", "height", "rx", "ry"}),
    "circle": frozenset({"cx", "cy", "r"}),
    "ellipse": frozenset({"cx", "cy", "rx", "ry"}),
    "path": frozenset({"d"}),
}
_TEXT = frozenset({"text", "tspan", "textPath", "tref", "altGlyph", "glyph", "font", "font-face", "style", "title"})
_AS_ATTRIBUTES = GEOMETRY | {"d", "transform"}
# Presentation attributes that resvg does not know, or not all values of.
_FURTHER_ATTRIBUTES = frozenset({"vector-effect", "clip"})
_ATTRIBUTES = (DRAWN - {"d", "transform"}) | LENGTH_ATTRIBUTES | _FURTHER_ATTRIBUTES
_SIMPLE_STYLE = re.compile(r"(?:[^\"'(){}\\/*@!]|url\(#[^()\"'\\;]+\)|rgb\([\d,\s]*\))*")
_SIMPLE_SELECTOR = re.compile(r"[*.#\w-]+(?:\s*[\s>,]\s*[*.#\w-]+)*")
# Rules that change nothing here: `@font-face` is about text, and others only say what a style sheet is written in.
_HARMLESS = frozenset({"charset", "namespace", "font-face", "font-feature-values", "page", "counter-style"})
_ALWAYS = re.compile(r"(?:only\s+)?(?:all|screen)?", re.IGNORECASE)
_NEVER = re.compile(r"(?:only\s+)?(?:print|speech|tty|tv|handheld|aural|braille|embossed|projection)", re.IGNORECASE)


def is_styled(local: str, attributes: Mapping[str, str]) -> bool:
    """Whether an element has a style of its own that resvg may not draw as browsers do."""
    if local in _TEXT:
        return False
    for name, value in attributes.items():
        if name == "style":
            if not _is_plain(value):
                return True
        elif name in _ATTRIBUTES and not plain(name, value):
            return True
    return False


def is_plain_sheet(text: str) -> bool:
    """Whether resvg applies a style sheet as browsers do: simple selectors, and properties that it knows."""
    if "\\" in text:
        return False
    for node in tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True):
        if node.type == "at-rule" and node.lower_at_keyword in _HARMLESS - {"namespace"}:
            continue
        if node.type != "qualified-rule" or not _SIMPLE_SELECTOR.fullmatch(tinycss2.serialize(node.prelude).strip()):
            return False
        if not _is_plain(tinycss2.serialize(node.content)):
            return False
    return True


def _is_plain(style: str) -> bool:
    if _SIMPLE_STYLE.fullmatch(style) is None:
        return False
    for declaration in style.split(";"):
        name, colon, value = declaration.partition(":")
        name = name.strip()
        if colon and (name.startswith("--") or name in _AS_ATTRIBUTES - {"transform"} or not plain(name, value)):
            return False
    return True


def resolved(text: str) -> tuple[str, str]:
    """Return a drawing, whose XML is known to be bounded, with its style written out, and what of it is not drawn.

    Raises whatever the libraries raise. How long it takes, its caller says (`process.interrupted`).
    """
    root = ElementTree.fromstring(text)
    sheet = _Sheet()
    for element in root.iter():
        if _local(element) == "style" and element.get("type", "text/css").strip().lower() in ("text/css", ""):
            media = element.get("media", "").strip()
            content = "".join(element.itertext())
            sheet.read(f"@media {media} {{{content}}}" if media else content)
    resolver = _Resolver(sheet, _surroundings(root))
    resolver.apply(root)
    for parent in list(root.iter()):
        for child in [child for child in parent if _local(child) == "style"]:
            parent.remove(child)
    return ElementTree.tostring(root, encoding="unicode"), sheet.unknown


def _local(element: Any) -> str:
    """Return an element's name without its namespace; nothing for comments and instructions."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _surroundings(root: Any) -> Surroundings:
    """Return what lengths depend on: the sides that the root names, those of its box, or what browsers take."""
    box = re.split(r"[\s,]+", root.get("viewBox", "").strip())
    sides = []
    for name, side, usual in (("width", box[2:3], 300.0), ("height", box[3:4], 150.0)):
        found = pixels(root.get(name, "")) or pixels(side[0] if side else "")
        sides.append(found or usual)
    return Surroundings(sides[0], sides[1])


@dataclass(frozen=True, slots=True)
class _Declared:
    """A declaration: a property's name and the parts of its value."""

    name: str
    value: tuple[Any, ...]
    important: bool


@dataclass(slots=True)
class _Sheet:
    """All rules of a drawing in their order, and the first thing in them that is not understood."""

    matcher: Any = field(default_factory=cssselect2.Matcher)
    rules: int = 0
    unknown: str = ""
    namespaces: dict[str | None, str] = field(default_factory=dict)

    def note(self, what: str) -> None:
        """Keep what is not drawn, the first of it."""
        self.unknown = self.unknown or what

    def read(self, text: str) -> None:
        """Add the rules of a style sheet."""
        self._take(tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True), "", 0)

    def _take(self, nodes: Sequence[Any], within: str, depth: int) -> None:
        if depth > _DEEPEST:
            self.note("rules in rules of a style sheet")
            return
        for node in nodes:
            if node.type == "qualified-rule":
                self._rule(node, within, depth)
            elif node.type == "at-rule":
                self._at_rule(node, within, depth)

    def _rule(self, node: Any, within: str, depth: int) -> None:
        self.rules += 1
        if self.rules > _MOST_RULES:
            self.note("a style sheet of so many rules")
            return
        selectors = ", ".join(_below(part, within) for part in _parts(node.prelude))
        declared, nested = _contents(node.content)
        if len(selectors) > _LONGEST_VALUE:
            self.note("a selector so long")
            return
        if declared:
            self._add(selectors, declared)
        self._take(nested, selectors, depth + 1)

    def _add(self, selectors: str, declared: list[_Declared]) -> None:
        try:
            for selector in cssselect2.compile_selector_list(selectors, self.namespaces):
                if selector.pseudo_element is None:
                    self.matcher.add_selector(selector, declared)
        except (cssselect2.SelectorError, RecursionError):
            self.note(f"the selector {selectors[:60]}")

    def _at_rule(self, node: Any, within: str, depth: int) -> None:
        word, prelude = node.lower_at_keyword, tinycss2.serialize(node.prelude).strip()
        if word == "namespace":
            self._namespace(node.prelude)
            return
        if word in _HARMLESS:
            return
        if word not in ("media", "supports", "layer", "container", "scope") or node.content is None:
            self.note("what a style sheet moves or fetches" if word in ("keyframes", "import") else f"@{word}")
            return
        if word == "media":
            queries = [query.strip() for query in prelude.split(",")]
            if all(_NEVER.fullmatch(query) for query in queries):
                return
            if not any(_ALWAYS.fullmatch(query) for query in queries):
                self.note("what depends on the window (@media)")
        else:
            self.note(f"what depends on @{word}")
        declared, nested = _contents(node.content)
        if within and declared:
            self._add(within, declared)
        self._take(nested, within, depth + 1)

    def _namespace(self, prelude: Sequence[Any]) -> None:
        words = [token for token in prelude if token.type in ("ident", "string", "url")]
        if words and words[-1].type != "ident":
            self.namespaces[words[0].value if len(words) > 1 else None] = words[-1].value


def _parts(prelude: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the selectors of a list."""
    part: list[Any] = []
    for token in prelude:
        if token == ",":
            yield part
            part = []
        else:
            part.append(token)
    yield part


def _below(part: Sequence[Any], within: str) -> str:
    """Return a selector with the rule written in that it stands in."""
    text = str(tinycss2.serialize(part)).strip()
    if not within:
        return text
    if any(token == "&" for token in part):
        return "".join(f":is({within})" if token == "&" else tinycss2.serialize([token]) for token in part).strip()
    return f":is({within}) {text}"


def _contents(content: Sequence[Any]) -> tuple[list[_Declared], list[Any]]:
    """Return the declarations of a rule, and the rules in it."""
    declared, nested = [], []
    for node in tinycss2.parse_blocks_contents(content, skip_comments=True, skip_whitespace=True):
        if node.type == "declaration":
            declared.append(_declared(node))
        elif node.type in ("qualified-rule", "at-rule"):
            nested.append(node)
    return declared, nested


def _declared(node: Any) -> _Declared:
    return _Declared(bare_name(node.name), tuple(node.value), bool(node.important))


_Variables = Mapping[str, tuple[Any, ...]]


@dataclass(slots=True)
class _Resolver:
    """Writes a style into the elements that it is for."""

    sheet: _Sheet
    where: Surroundings

    def apply(self, root: Any) -> None:
        """Go through all elements, parents before their children: they hand variables down."""
        inherited: dict[Any, _Variables] = {}
        for wrapper in cssselect2.ElementWrapper.from_xml_root(root).iter_subtree():
            element = wrapper.etree_element
            if not isinstance(element.tag, str):
                continue
            above = inherited.get(wrapper.parent.etree_element, {}) if wrapper.parent is not None else {}
            inherited[element] = self._element(wrapper, element, above)

    def _element(self, wrapper: Any, element: Any, above: _Variables) -> _Variables:
        declared = self._declared(wrapper, element)
        own = {one.name: one.value for one in declared if one.name.startswith("--")}
        variables: _Variables = {**above, **own} if own else above
        if len(variables) > _MOST_VARIABLES:
            self.sheet.note("so many variables of style")
            variables = above
        local = _local(element)
        is_root = wrapper.parent is None
        if is_root and any(one.name == "transform" for one in declared):
            self.sheet.note("a transform of the whole")
        self._attributes(element, local, variables)
        style: dict[str, str] = {}
        for one in declared:
            name = one.name
            if without_effect(name) or (name.startswith("background") and not is_root):
                continue
            if name in GEOMETRY | {"d"} and name not in _PLACED.get(local, ()):
                continue
            try:
                value = written(name, self._put_in(one.value, variables), self.where)
            except Unknown as unknown:
                self.sheet.note(unknown.detail)
                continue
            if name in DRAWN:
                style[name] = value
        self._write(element, style, is_root=is_root)
        return variables

    def _declared(self, wrapper: Any, element: Any) -> list[_Declared]:
        """Return the declarations for an element, the one that wins last."""
        found: list[_Declared] = []
        for *_, declared in self.sheet.matcher.match(wrapper):
            found += declared
        style = element.get("style")
        if style is not None:
            found += _contents(tinycss2.parse_component_value_list(style))[0]
        return sorted(found, key=lambda one: one.important)

    def _attributes(self, element: Any, local: str, variables: _Variables) -> None:
        if local in _TEXT:
            return
        for name, value in list(element.items()):
            if name not in _ATTRIBUTES or plain(name, value):
                continue
            try:
                tokens = tinycss2.parse_component_value_list(value)
                element.set(name, written(name, self._put_in(tokens, variables), self.where))
            except Unknown as unknown:
                self.sheet.note(unknown.detail)
                del element.attrib[name]

    def _write(self, element: Any, style: dict[str, str], *, is_root: bool) -> None:
        kept = []
        for name, value in style.items():
            if name not in _AS_ATTRIBUTES:
                kept.append(f"{name}:{value}")
            elif not (is_root and name in GEOMETRY and ("%" in value or value == "auto")):
                element.set(name, value)
        if kept:
            element.set("style", ";".join(kept))
        else:
            element.attrib.pop("style", None)

    def _put_in(self, value: Sequence[Any], variables: _Variables, depth: int = 0) -> list[Any]:
        """Return a value with the variables in it put in. Raises `Unknown`."""
        if depth > _DEEPEST:
            raise Unknown("variables of style that need each other")
        found: list[Any] = []
        for token in value:
            if token.type != "function":
                found.append(token)
            elif token.lower_name == "var":
                name, rest = _variable(token)
                instead = variables.get(name, rest)
                if instead is None:
                    raise Unknown(f"the variable {name[:40]}")
                found += self._put_in(instead, variables, depth + 1)
            else:
                arguments = self._put_in(token.arguments, variables, depth + 1)
                if arguments != list(token.arguments):
                    token = tinycss2.ast.FunctionBlock(token.source_line, token.source_column, token.name, arguments)
                found.append(token)
            if len(found) > _LONGEST_VALUE:
                raise Unknown("a variable of style so long")
        return found


def _variable(token: Any) -> tuple[str, list[Any] | None]:
    """Return the name in `var(name, otherwise)`, and what stands behind the comma."""
    parts = list(token.arguments)
    comma = next((at for at, part in enumerate(parts) if part == ","), None)
    name = next((part.value for part in parts[:comma] if part.type == "ident"), "")
    return name, None if comma is None else parts[comma + 1 :]
