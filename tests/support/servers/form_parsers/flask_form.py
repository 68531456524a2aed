"""Reads forms by werkzeug, which PieFed has: a line of JSON for each, and one in answer."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request


def read(kind: bytes, body: bytes) -> dict[str, Any]:
    """Return the SHA-256 of every file, and why the whole was refused."""
    about = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": kind.decode("latin-1"),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    try:
        files = [file.read() for _, file in Request(about).files.items(multi=True)]
    except (HTTPException, ValueError) as error:
        return {"files": [], "refused": str(error)}
    return {"files": [hashlib.sha256(file).hexdigest() for file in files]}


for line in sys.stdin.buffer:
    asked = json.loads(line)
    said = read(base64.b64decode(asked["type"]), base64.b64decode(asked["body"]))
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
