"""The description of the gate's endpoints: one document for programs, and a page for people made of it.

The page needs nothing but a browser. A test holds the document to the routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from fedi_safety import __version__
from fedi_safety.gate.body import FIELD
from fedi_safety.judging import messages

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_ID: Json = {"type": "string", "description": "the request's id, which the log has too"}
_MODELS = (
    messages.TakeRequest,
    messages.RenewRequest,
    messages.RenewAnswer,
    messages.ResultsRequest,
    messages.ResultsAnswer,
)

SCHEMAS: Json = {
    "Answer": {
        "type": "object",
        "required": ["accepted", "code", "message", "id", "verdict", "labels", "rules", "sha256"],
        "properties": {
            "accepted": {"type": "boolean"},
            "code": {"type": "string", "description": "clear, review, block, or why there is no verdict"},
            "message": _TEXT,
            "id": _ID,
            "verdict": {"type": ["string", "null"], "enum": ["clear", "review", "block", None]},
            "labels": {"type": "array", "items": _TEXT},
            "rules": {"type": "array", "items": _TEXT},
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        },
    },
    "Error": {
        "type": "object",
        "required": ["code", "message"],
        "properties": {"code": _TEXT, "message": _TEXT, "id": _ID},
    },
    "Ready": {
        "type": "object",
        "required": ["ready", "code", "alerts"],
        "properties": {
            "ready": {"type": "boolean"},
            "code": _TEXT,
            "alerts": {"type": "array", "items": _TEXT},
        },
    },
    "Hash": {
        "type": "object",
        "required": ["quality", "pdq_hash_binary"],
        "properties": {
            "quality": {"type": "integer", "minimum": 0, "maximum": 100},
            "pdq_hash_binary": {"type": "string", "pattern": "^[01]{256}$"},
        },
    },
    "Announced": {
        "type": "object",
        "required": ["media", "left_out"],
        "properties": {"media": {"type": "integer"}, "left_out": {"type": "integer"}},
    },
    "OldVerdict": {
        "type": "object",
        "required": ["image", "is_csam", "is_nsfw"],
        "properties": {
            "image": {"type": "string", "description": "the file name that came with the picture"},
            "is_csam": {"type": ["boolean", "null"]},
            "is_nsfw": {"type": ["boolean", "null"]},
        },
    },
    "OldMessage": {"type": "object", "properties": {"message": _TEXT, "errors": {"type": "object"}}},
}


def describe(*, workers: bool, pdq: bool, mastodon: bool, sharing: bool = False) -> Json:
    """Return the OpenAPI document of a gate that has these parts."""
    paths: Json = {}
    for path in ("/api/v1/scan/{token}", "/validate/{token}", "/validate"):
        paths[path] = {"post": _upload(token="{token}" in path)}
    paths["/healthz"] = {
        "get": _get("Whether it is alive.", {"200": _said("It is.", {"type": "object"})}, closed=False)
    }
    ready = {"200": _said("They can.", _ref("Ready")), "503": _said("They cannot; the code says why.", _ref("Ready"))}
    whether = "Whether uploads can be judged now, and those let in without a verdict written down."
    paths["/readyz"] = {"get": _get(whether, ready, closed=False)}
    paths["/metrics"] = {"get": _get("Figures for Prometheus.", {"200": _plain("The figures.", "text/plain")})}
    document = {"200": _said("This document.", {"type": "object"})}
    paths["/openapi.json"] = {"get": _get("This description.", document, closed=False)}
    paths["/docs"] = {
        "get": _get("This description, for people.", {"200": _plain("A page.", "text/html")}, closed=False)
    }
    if pdq:
        for path in ("/pdq", "/pdq/{token}"):
            paths[path] = {"get": _pdq(token="{token}" in path)}
    if mastodon:
        paths["/webhooks/mastodon"] = {"post": _webhook()}
    if sharing:
        paths |= _shared_list()
    if workers:
        paths |= _worker_paths()
    schemas = dict(SCHEMAS)
    for model in _MODELS if workers else ():
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fedi-safety: the gate",
            "version": __version__,
            "description": "Judges every upload before it is published. The codes are listed in docs/api.md.",
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "a caller's token, or a worker's key"},
                "apikey": {"type": "apiKey", "in": "header", "name": "apikey", "description": "a worker's key"},
            },
        },
    }


def _upload(*, token: bool) -> Json:
    answers = {
        "200": _said("Accepted.", _ref("Answer")),
        "406": _said("Refused.", _ref("Answer")),
        "400": _error("The form cannot be read, or the request is malformed."),
        "408": _error("It did not arrive in time."),
        "413": _error("It is too large."),
        "429": _error("The caller sends more than its rate."),
    }
    kinds: Json = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/*", "video/*")}
    kinds["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    kinds["multipart/form-data"] = {
        "schema": {
            "type": "object",
            "required": [FIELD],
            "properties": {FIELD: {"type": "string", "format": "binary"}},
        }
    }
    text = "Judge an upload and answer within the deadline: 2xx publishes it. The body is the medium itself, or a form."
    return _operation(text, answers, token=token) | {"requestBody": {"required": True, "content": kinds}}


def _pdq(*, token: bool) -> Json:
    answers = {
        "200": _said("The hash.", _ref("Hash")),
        "400": _error("There is no image_url."),
        "403": _error("The address may not be fetched."),
        "422": _error("It cannot be decoded."),
        "429": _error("Too many at once; try again."),
        "502": _error("It could not be fetched."),
        "503": _error("The gate is not ready."),
    }
    operation = _operation("Fetch a picture from a listed host and return its PDQ hash (PieFed).", answers, token=token)
    url = {"name": "image_url", "in": "query", "required": True, "schema": {"type": "string", "minLength": 1}}
    return operation | {"parameters": [*operation.get("parameters", []), url]}


def _webhook() -> Json:
    answers = {
        "202": _said("Taken down, to be judged at once.", _ref("Announced")),
        "400": _error("This is no message of Mastodon's."),
        "401": _error("The signature is missing or wrong."),
        "408": _error("It did not arrive in time."),
        "413": _error("It is too large."),
        "503": _error("It could not be taken down; send it again."),
    }
    signature = {"name": "X-Hub-Signature", "in": "header", "required": True, "schema": _TEXT}
    return {
        "summary": "Mastodon's webhook for new statuses: their media is judged within seconds.",
        "parameters": [signature],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": answers,
    }


def _shared_list() -> Json:
    answers = {
        "304": {"description": "It is as it was (`If-None-Match`)."},
        "401": _error("The token is no subscriber's."),
        "404": _error("Nothing was published, or there are not so many changes."),
        "429": _error("The subscriber asks too often."),
        "503": _error("It cannot be read now."),
    }

    def asked(summary: str, what: str) -> Json:
        said = {"200": _plain(what, "text/plain"), **answers}
        return {"summary": summary, "security": [{"bearer": []}], "responses": said}

    after = {"name": "after", "in": "query", "required": True, "schema": {"type": "integer", "minimum": 0}}
    changes = asked("Changes of this instance's list, in order.", "A line for each, 10,000 at most (docs/sharing.md).")
    changes["parameters"] = [after]
    changes["responses"]["400"] = _error("`after` is missing, or no whole number.")
    return {
        "/sharing/v1/head": {"get": asked("How this instance's list stands, signed.", "A signature and one line.")},
        "/sharing/v1/changes": {"get": changes},
        "/sharing/v1/snapshot": {
            "get": asked("What of this instance's list is in force, signed.", "A signature, and a line for each entry.")
        },
    }


def _worker_paths() -> Json:
    old: list[Json] = [{"apikey": []}]
    new: list[Json] = [{"bearer": []}, {"apikey": []}]
    wrong = {"400": _said("The request is malformed, or has no key.", _ref("OldMessage"))}
    wrong["403"] = _said("The key is not known here.", _ref("OldMessage"))
    take = {
        "200": _plain("One line of JSON, then the media one after another.", messages.WORK_TYPE),
        "204": {"description": "The worker went away."},
    }
    return {
        "/api/v1/pop": {
            "get": {
                "summary": "Take one upload, as workers of pictrs-safety v1.2.2 do.",
                "security": old,
                "responses": {
                    "200": _plain("A picture; its name is in Content-Disposition.", "image/*"),
                    "204": {"description": "There is none."},
                    **wrong,
                },
            },
            "post": {
                "summary": "Bring a verdict, as workers of pictrs-safety v1.2.2 do.",
                "security": old,
                "requestBody": _json_body("OldVerdict"),
                "responses": {
                    "201": _said("It counts, or came too late.", _ref("OldMessage")),
                    "404": _said("No such upload is lent to this worker.", _ref("OldMessage")),
                    "408": _error("The body did not come in time."),
                    "413": _error("The body is too large."),
                    **wrong,
                },
            },
        },
        "/api/v1/work": {"post": _work("Take uploads; waits for the first.", "TakeRequest", take, new)},
        "/api/v1/work/renew": {
            "post": _work(
                "Keep what is lent for longer.", "RenewRequest", {"200": _said("Done.", _ref("RenewAnswer"))}, new
            )
        },
        "/api/v1/work/results": {
            "post": _work("Bring verdicts.", "ResultsRequest", {"200": _said("Done.", _ref("ResultsAnswer"))}, new)
        },
    }


def _work(text: str, body: str, answers: Json, security: list[Json]) -> Json:
    errors = {
        "400": _error("The request is malformed."),
        "403": _error("The key is not known here."),
        "408": _error("The body did not come in time."),
        "413": _error("The body is too large."),
    }
    return {"summary": text, "security": security, "requestBody": _json_body(body), "responses": answers | errors}


def _get(text: str, answers: Json, *, closed: bool = True) -> Json:
    return _operation(text, answers, token=False) if closed else {"summary": text, "responses": answers}


def _operation(text: str, answers: Json, *, token: bool) -> Json:
    operation: Json = {"summary": text, "responses": answers | {"401": _error("The caller is not known here.")}}
    if token:
        about = "the caller's token, or IPADDR: its address decides"
        name = {"name": "token", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        return operation | {"parameters": [name | {"description": about}]}
    return operation | {"security": [{}, {"bearer": []}]}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _said(text: str, schema: Json) -> Json:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _plain(text: str, kind: str) -> Json:
    return {"description": text, "content": {kind: {"schema": _TEXT}}}


def _error(text: str) -> Json:
    return _said(text, _ref("Error"))


def _json_body(name: str) -> Json:
    return {"required": True, "content": {"application/json": {"schema": _ref(name)}}}


# --- the page

_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 2rem 1.25rem; max-width: 60rem; font: 15px/1.5 system-ui, sans-serif; }
section { border-top: 1px solid #8886; padding: .5rem 0 1rem; }
h2 { font-size: 1.05rem; } h2 code { font-size: 1rem; } h2 b { margin-right: .6rem; }
td { padding: .1rem 1.2rem .1rem 0; vertical-align: top; } pre { overflow-x: auto; background: #8882; padding: .8rem; }
"""


def page(document: Mapping[str, Any]) -> str:
    """Return the document as a page of HTML without scripts."""
    info = document["info"]
    sections = "".join(
        _section(method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    )
    schemas = "".join(_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items()))
    title = escape(info["title"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><meta name="viewport" '
        f'content="width=device-width"><style>{_STYLE}</style></head><body><h1>{title} {escape(info["version"])}</h1>'
        f'<p>{escape(info["description"])} For programs: <a href="openapi.json">openapi.json</a>.</p>{sections}'
        f"<h1>What is in the JSON</h1>{schemas}</body></html>"
    )


def _section(method: str, path: str, operation: Mapping[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    rows = [(p["name"], f"in the {p['in']}. {p.get('description', '')}") for p in operation.get("parameters", [])]
    rows += [("body", f"{kind} {_named(content['schema'])}") for kind, content in body.items()]
    answers = [
        (code, " ".join([said["description"], *(_named(c["schema"]) for c in said.get("content", {}).values())]))
        for code, said in sorted(operation["responses"].items())
    ]
    return (
        f"<section><h2><b>{method}</b><code>{escape(path)}</code></h2><p>{escape(operation['summary'])}</p>"
        f"{_table(rows)}<h3>Answers</h3>{_table(answers)}</section>"
    )


def _named(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{cells}</table>" if cells else ""


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    import json

    return f"<section><h2><code>{escape(name)}</code></h2><pre>{escape(json.dumps(schema, indent=1))}</pre></section>"
