"""Every page of the review pages and every form on them, found by going through the links as a person does.

What is found is held against the table of routes, so that a page which comes later is met by every test of pages: it is
reached by a link, or it is named in `BY_HAND` with an address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.routing import compile_path

from fedi_safety.review.pages import RULES
from fedi_safety.review.rules import Rule
from fedi_safety.review.serving import PLACE

BY_HAND = {"/login": "login", "/enter": "enter?key=none", "/prove": "prove"}
"""Pages that no link leads to: where somebody is sent to."""
NO_PAGES = frozenset({"/shown/{word}", "/picture/{word}"})
"""Routes to which no link may lead, for what they give is no page and is given once."""
_MOST = 3  # addresses of one route with the same names in the query, of which there may be as many as contents
_MOST_OF_ROUTE = 16  # names in a query come together in many ways


@dataclass(frozen=True, slots=True)
class Form:
    """A form as it stands on a page: what it sends if nobody puts anything in. `choices` are of its lists."""

    place: str  # the address of the page
    method: str
    action: str
    fields: Mapping[str, str]
    choices: Mapping[str, tuple[str, ...]]

    def addresses(self) -> Iterator[str]:
        """Yield where a form that only asks leads to: as it stands, and with each list at another of its choices."""
        for chosen in ({}, *({name: last[-1]} for name, last in self.choices.items())):
            asked = {name: value for name, value in (dict(self.fields) | chosen).items() if value}
            yield f"{self.action}?{urlencode(asked)}" if asked else self.action


class Reader(HTMLParser):
    """Reads a page's links and forms."""

    def __init__(self, place: str, page: str) -> None:
        """Read a page that was at this address."""
        super().__init__()
        self._place = place
        self.links: list[str] = []
        self.forms: list[Form] = []
        self._form: tuple[str, str, dict[str, str], dict[str, tuple[str, ...]]] | None = None
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and given.get("href", "").startswith(PLACE):
            self.links.append(given["href"].partition("#")[0])
        elif tag == "form":
            self._form = given.get("method", "get").upper(), given.get("action", ""), {}, {}
        elif self._form is not None:
            _, _, fields, choices = self._form
            name = given.get("name", self._select if tag == "option" else "")
            if tag == "button" and given.get("formaction", "").startswith(PLACE):
                self.forms.append(Form(self._place, "GET", given["formaction"], fields, choices))
            if tag in ("input", "textarea", "button") and name:
                fields.setdefault(name, given.get("value", ""))
            elif tag == "select":
                self._select = name
            elif tag == "option":
                choices[name] = (*choices.get(name, ()), given.get("value", ""))
                if name not in fields or "selected" in given:
                    fields[name] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._form is not None:
            self.forms.append(Form(self._place, *self._form))
            self._form = None


@dataclass
class Found:
    """What going through the links came upon: addresses by route, and a form of each route that changes something."""

    places: dict[Rule, list[str]] = field(default_factory=dict)
    forms: dict[Rule, list[Form]] = field(default_factory=dict)

    def every(self, most: int | None = None) -> Iterator[tuple[Rule, str]]:
        """Yield each address with its route; no more than `most` of one route."""
        for rule, places in self.places.items():
            for place in places[:most]:
                yield rule, place


def rule_of(address: str, method: str = "GET") -> Rule | None:
    """Return the route that an address of the pages belongs to."""
    path = address.partition("?")[0].removeprefix(PLACE)
    for rule in RULES:
        if rule.method == method and compile_path(rule.path)[0].match(path):
            return rule
    return None


def _shape(rule: Rule, address: str) -> tuple[Rule, frozenset[str]]:
    return rule, frozenset(name for name, _ in parse_qsl(address.partition("?")[2]))


def crawl(browser: Any) -> Found:
    """Go through all links and lists from the first page on; `browser` follows no redirects by itself."""
    found = Found()
    shapes: Counter[tuple[Rule, frozenset[str]]] = Counter()
    waiting = [f"{PLACE}/", *(f"{PLACE}/{place}" for place in BY_HAND.values())]
    met = set(waiting)
    while waiting:
        address = waiting.pop(0)
        rule = rule_of(address)
        if rule is None or shapes[_shape(rule, address)] >= _MOST or len(found.places.get(rule, ())) >= _MOST_OF_ROUTE:
            continue
        shapes[_shape(rule, address)] += 1
        answer = browser.get(address)
        assert answer.status_code < 400, (address, answer.status_code)
        found.places.setdefault(rule, []).append(address)
        further = [answer.headers["location"]] if answer.status_code == 303 else []
        if answer.headers.get("content-type", "").startswith("text/html"):
            page = Reader(address, answer.text)
            further += page.links
            for form in page.forms:
                if form.method == "GET":
                    further += form.addresses()
                elif (changing := rule_of(form.action, "POST")) is not None:
                    found.forms.setdefault(changing, []).append(form)
        for place in further:
            if place not in met:
                met.add(place)
                waiting.append(place)
    return found
