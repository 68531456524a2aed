"""`hashes match`: what one file or hash meets, or all that was judged before."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.hashes.opened import opened_ledger
from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import Shell, shell, write_json
from fedi_safety.core.errors import KnownError, Unscannable, UsageError
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.core.known.ports import KnownImages
    from fedi_safety.core.known.types import Hit

_HASH = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")


def match(
    target: Annotated[
        str | None,
        typer.Argument(metavar="FILE|HASH", help="A file or a hash; left out, all that was judged before."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would change, and change nothing.")] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Say which entries a file or a hash meets; or compare all that was judged before with all lists."""
    sh = shell(config, ledger, log_level, quiet, yes)
    return _stored(sh, dry_run, json_output) if target is None else _one(sh, target, json_output)


def _stored(sh: Shell, dry_run: bool, json_output: bool) -> int:
    from fedi_safety.app.known.lists import apply_all, open_catalog
    from fedi_safety.cli.hashes.words import applied_lines

    with opened_ledger(sh) as records, open_catalog(sh.settings) as catalog:
        applied = apply_all(sh.settings, records, catalog, dry_run=dry_run)
    if json_output:
        write_json({"dry_run": dry_run, "applied": applied.as_json()})
        return 0
    for line in applied_lines(applied, dry_run=dry_run):
        sh.say(line)
    return 0


def _one(sh: Shell, target: str, json_output: bool) -> int:
    from fedi_safety.app.known.lists import open_catalog

    with open_catalog(sh.settings) as catalog:
        images = catalog.images()
        try:
            found = _of_hash(images, bytes.fromhex(target)) if _HASH.fullmatch(target) else _of_file(sh, images, target)
        except Unscannable as error:
            raise KnownError(target, error.detail or error.reason.value, f"see {hint('hashes verify')}") from error
    if json_output:
        write_json({"target": target, "hits": [_json(hit, frame) for hit, frame in found]})
        return 0
    for hit, frame in found:
        sh.say(_text(hit, frame))
    if not found:
        sh.say("no list has it")
    return 0


def _of_hash(images: KnownImages, digest: bytes) -> list[tuple[Hit, int | None]]:
    import numpy as np

    from fedi_safety.core.types import Fingerprints

    parts = {16: ("md5",), 20: ("sha1",), 32: ("sha256",)}[len(digest)]
    given = {name: digest if name in parts else b"" for name in ("sha256", "sha1", "md5")}
    found: list[tuple[Hit, int | None]] = [(hit, None) for hit in images.exact(Fingerprints(**given, size=0))]
    if len(digest) == 32:
        (near,) = images.near(np.frombuffer(digest, np.uint8).reshape(1, 32))
        found += [(hit, 0) for hit in near]
    return found


def _of_file(sh: Shell, images: KnownImages, named: str) -> list[tuple[Hit, int | None]]:
    """Compare a file's bytes, and what it shows as far as it can be decoded."""
    from fedi_safety.app.engine import open_decoder, open_describer
    from fedi_safety.core.types import Fingerprints
    from fedi_safety.detectors.known.recognizer import Known
    from fedi_safety.detectors.sessions.devices import choose_device

    path = Path(named)
    if not path.is_file():
        raise UsageError(named, "is no file and no hash", "name a file, or write a hash in hexadecimal digits")
    if path.stat().st_size > sh.settings.limits.max_bytes:
        raise UsageError(named, f"has more than {sh.settings.limits.max_bytes:,} bytes", "raise limits.max_bytes")
    data = path.read_bytes()
    sha256, sha1, md5 = (hashlib.new(name, data, usedforsecurity=False).digest() for name in ("sha256", "sha1", "md5"))
    of_bytes = images.exact(Fingerprints(sha256, sha1, md5, len(data)))
    found: list[tuple[Hit, int | None]] = [(hit, None) for hit in of_bytes]
    decoder = open_decoder(sh.settings, 1)
    try:
        decoded = decoder.decode(data, decoder.sniff(data[:4096]))
    except Unscannable as error:
        sh.note(f"{named}: compared by its bytes alone, for it cannot be decoded: {error}")
        return found
    finally:
        decoder.close()
    describer = open_describer(sh.settings, choose_device(sh.settings.device))
    compared = Known(images, describer).pictures([*decoded.frames, *decoded.compared])
    return found + [(hit, each.hash.index) for each in compared for hit in each.hits]


def _text(hit: Hit, frame: int | None) -> str:
    if frame is None or hit.kind not in ("pdq", "near"):
        where = "by its bytes"
    else:
        of = " of 512 bits" if hit.kind == "near" else ""
        where = f"at distance {hit.distance}{of}, frame {frame}"
    turned = f", {hit.turn}" if hit.turn else ""
    return f"{hit.list} ({hit.effect.value}): entry {hit.entry}, {hit.kind.value} {where}{turned}"


def _json(hit: Hit, frame: int | None) -> dict[str, Any]:
    return {
        "list": hit.list,
        "effect": hit.effect.value,
        "entry": hit.entry,
        "kind": hit.kind.value,
        "distance": hit.distance,
        "turn": hit.turn,
        "frame": frame,
    }
