"""Forms that are written to be read in two ways, read by servers' parsers: Rack, PHP, Go, werkzeug, two of Node's.

What two of them could read in two ways is refused; of what is not, none of them finds a file that ours did not.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from fedi_safety.gate.responses import Refusal
from support.hostile.multipart import Request, hostile, plain, seeds
from support.hostile.reading import read
from support.needs import needs
from support.servers.form_parsers import FormParser, form_parsers
from support.share import Share

EMPTY = hashlib.sha256(b"").hexdigest()


@pytest.fixture(scope="module")
@needs("form-parsers")
def parsers() -> Iterator[Mapping[str, FormParser]]:
    with form_parsers() as running:
        yield running


def content_types(request: Request) -> set[bytes]:
    """Return what a web server may make of several headers of a name: the first, the last, or a list."""
    return {request.content_types[0], request.content_types[-1], b", ".join(request.content_types)}


def found(parser: FormParser, request: Request) -> set[str]:
    """Return the SHA-256 of every file that a parser finds."""
    files = {file for kind in content_types(request) for file in parser.read(kind, request.body).files}
    return files - {EMPTY}


@pytest.mark.long
def test_no_server_finds_a_file_that_was_not_judged(parsers: Mapping[str, FormParser], share: Share) -> None:
    count = share.of(400, 5_000)
    told: Counter[str] = Counter()
    for seed in seeds(count, share.seed):
        request, names = hostile(seed)
        try:
            judged = {file.sha256.hex() for file in read(request).files}
        except Refusal:
            told["refused"] += 1
            continue
        told["read"] += 1
        for name, parser in parsers.items():
            files = found(parser, request)
            assert files <= judged, f"seed {seed}: {name} finds a file that was not judged, after {names}: {request}"
            told[name] += len(files)
    share.figure(f"{count} forms: " + ", ".join(f"{key} {value}" for key, value in sorted(told.items())))
    assert told["read"] > count / 10
    assert all(told[name] for name in parsers), "a parser that finds nothing proves nothing"


@pytest.mark.long
def test_the_parsers_read_what_is_as_it_should_be(parsers: Mapping[str, FormParser]) -> None:
    request = plain(random.Random(1)).written()
    judged = {file.sha256.hex() for file in read(request).files}
    assert judged
    for name, parser in parsers.items():
        files = found(parser, request)
        assert files <= judged and files, name
