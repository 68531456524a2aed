"""Requests to every route, well and badly formed, made by schemathesis from a description that is made of the routes.

What a page asks for stands in its links and forms: the description is what going through them finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
from hypothesis import HealthCheck, given, seed, settings

from fedi_safety.core.ledger.review import Session
from fedi_safety.review.app import HEADERS
from fedi_safety.review.pages import RULES
from fedi_safety.review.rules import ROLES, Right
from fedi_safety.review.sessions import COOKIE, digest_of, token_of
from support.review_browser import served
from support.review_filled import fill
from support.review_routes import Found, crawl
from support.reviewing import Reviewing, reviewing
from support.share import Share

STATUSES = {200, 303, 400, 401, 403, 404, 405, 409, 410, 413, 429}
"""What an answer of the pages may be, whatever was sent; 500 is none, and 503 is a ledger that is not there."""
CAUSES = {400, 401, 403, 404, 409, 410, 413, 429}


def _value(known: set[str]) -> dict[str, Any]:
    return {"anyOf": [{"enum": sorted(known)}, {"type": "string", "maxLength": 300}]}


def described(found: Found, token: str) -> dict[str, Any]:
    """Return an OpenAPI document of all routes, with the values that pages sent and any others."""
    paths: dict[str, dict[str, Any]] = {}
    for rule in RULES:
        known: dict[str, set[str]] = {}
        for place in found.places.get(rule, ()):
            for name, value in parse_qsl(place.partition("?")[2]):
                known.setdefault(name, set()).add(value)
        parameters = [{"name": n, "in": "query", "required": False, "schema": _value(v)} for n, v in known.items()]
        for part in rule.path.split("/"):
            if part.startswith("{"):
                values = {place.partition("?")[0].rpartition("/")[2] for place in found.places.get(rule, ())}
                schema = _value(values | {"0"}) | {"minLength": 1}
                parameters.append({"name": part.strip("{}"), "in": "path", "required": True, "schema": schema})
        operation: dict[str, Any] = {"parameters": parameters, "responses": {"default": {"description": "a page"}}}
        if rule.method == "POST":
            fields: dict[str, set[str]] = {"name": {"all", "viewer"}, "password": {"x"}, "key": {"x"}}
            for form in found.forms.get(rule, ()):
                for name, value in form.fields.items():
                    fields.setdefault(name, set()).update({value, *form.choices.get(name, ())})
            properties = {name: _value(values) for name, values in fields.items()} | {"token": {"enum": [token]}}
            schema = {"type": "object", "properties": properties, "required": ["token"]}
            content = {"application/x-www-form-urlencoded": {"schema": schema}}
            operation["requestBody"] = {"required": True, "content": content}
        paths.setdefault(rule.path, {})[rule.method.lower()] = operation
    return {"openapi": "3.0.3", "info": {"title": "review pages", "version": "1"}, "paths": paths}


class Sender:
    """Sends what is generated, as somebody who may do everything, and holds every answer to what all answers are."""

    def __init__(self, here: Reviewing, root: str) -> None:
        self.here, self.root = here, root
        self.secret = here.pages.sessions.begin(here.pages.people.known["all"])
        self.session: Session = here.ledger.session(digest_of(self.secret))  # type: ignore[assignment]
        self.http = requests.Session()
        self.http.trust_env = False
        self.said: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()

    def send(self, case: Any, **headers: str) -> requests.Response:
        """Send one, signed in anew where the last one signed out."""
        if self.here.ledger.session(self.session.digest) is None:
            self.here.ledger.put_session(self.session)
        given = {"Cookie": f"{COOKIE}={self.secret}", "Origin": self.root.removesuffix("/review"), **headers}
        kwargs = case.as_transport_kwargs(base_url=self.root, headers=given)
        answer = self.http.request(**kwargs, allow_redirects=False, timeout=30)
        self.sent[f"{case.method} {case.path}"] += 1
        self.said[str(answer.status_code)] += 1
        assert answer.status_code in STATUSES, (case.method, answer.url, answer.status_code)
        for name, value in HEADERS.items():
            if "style.css" not in answer.url and "keys.js" not in answer.url:
                assert answer.headers.get(name) == value, (answer.url, name)
        if answer.status_code in CAUSES:
            assert "<h1>" in answer.text and "<p>" in answer.text, "a page with the cause"
        return answer


@contextmanager
def sending(folder: Path) -> Iterator[tuple[Sender, list[Any]]]:
    import schemathesis  # seconds, which whoever leaves this test out need not wait for

    with reviewing(folder, {"all": list(ROLES), "viewer": ["viewer"]}, undo_s=600) as here:
        fill(here)
        found = crawl(here.signed_in("all"))
        with served(here) as root:
            sender = Sender(here, root)
            schema = schemathesis.openapi.from_dict(described(found, token_of(sender.secret)))
            operations: list[Any] = [each.ok() for each in schema.get_all_operations()]  # type: ignore[union-attr]
            assert len(operations) == len(RULES)
            yield sender, operations
            assert here.ledger.verify().problem is None
            sender.http.close()


def run(share: Share, operation: Any, mode: Any, examples: int, send: Any) -> None:
    @seed(share.seed)
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=examples * share.of(1, 20), database=None, suppress_health_check=list(HealthCheck))
    def each(case: Any) -> None:
        send(case)

    each()


@pytest.mark.fuzz
def test_whatever_is_sent_gets_a_page_a_status_and_all_headers(tmp_path: Path, share: Share) -> None:
    from schemathesis import GenerationMode

    with sending(tmp_path) as (sender, operations):
        for operation in operations:
            run(share, operation, GenerationMode.POSITIVE, 12, sender.send)
            if list(operation.query) or list(operation.path_parameters) or list(operation.body):
                run(share, operation, GenerationMode.NEGATIVE, 12, sender.send)
        share.figure(f"{sender.sent.total()} requests to the review pages: {dict(sender.said.most_common())}")
        assert len(sender.sent) == len(RULES), sender.sent
        assert {"200", "303", "400", "403", "404", "409"} <= set(sender.said), sender.said


@pytest.mark.fuzz
def test_nothing_changes_without_the_token_or_from_elsewhere(tmp_path: Path, share: Share) -> None:
    from schemathesis import GenerationMode

    with sending(tmp_path) as (sender, operations):
        ledger = sender.here.ledger

        def state() -> object:
            breakers = [(url, ledger.breaker(url)) for url in ledger.store_urls()]
            return ledger.verify().length, ledger.decisions(limit=500), breakers, ledger.seals()

        def without_token(case: Any) -> None:
            if isinstance(case.body, dict):
                case.body = {**case.body, "token": "x"}
            refused = sender.send(case)
            assert refused.status_code in (400, 403), refused.status_code

        def from_elsewhere(case: Any) -> None:
            assert sender.send(case, Origin="https://evil.example").status_code in (400, 403)

        before = state()
        open_ = {rule.path for rule in RULES if rule.right is Right.OPEN}
        for operation in operations:
            if operation.method.upper() == "POST":
                run(share, operation, GenerationMode.POSITIVE, 6, from_elsewhere)
                if operation.path not in open_:
                    run(share, operation, GenerationMode.POSITIVE, 6, without_token)
        assert state() == before
        assert sender.sent.total() > 50
