"""The variables of the earlier fedi-safety and of pictrs-safety, as settings of this program.

Pure: variables in, the settings' plain values and problems out. What it cannot read it reports, so that a slip in an
access list is never silently without effect.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

STORE = "PICTRS_FILES_DIRECTORY"
LEDGER = "SQLITE_FILENAME"
"""Its database: taken over by `import-ledger`, never used as a ledger."""

WORKER_AUTH = "FEDIVERSE_SAFETY_WORKER_AUTH"
KNOWN_IDS = "KNOWN_PICTRS_IDS"
KNOWN_IPS = "KNOWN_PICTRS_IPS"
BYPASS = "SCAN_BYPASS_THRESHOLD"
MISSING = "MISSING_WORKER_THRESHOLD"
PATIENCE = "FEDIVERSE_SAFETY_TIME_THRESHOLD"
USE_SQLITE = "USE_SQLITE"
POSTGRES = "POSTGRES_URI"
SAFETY_URL = "PICTRS_SAFETY_URL"
SAFETY_KEY = "PICTRS_SAFETY_APIKEY"
ENDPOINT = "OBJECT_STORAGE_ENDPOINT"
BUCKET = "PICTRS_BUCKET"
KEY_ID = "AWS_ACCESS_KEY_ID"
SECRET_KEY = "AWS_SECRET_ACCESS_KEY"
SESSION_TOKEN = "AWS_SESSION_TOKEN"
REGION = "AWS_REGION"
DEFAULT_REGION = "AWS_DEFAULT_REGION"
PROFILE = "AWS_PROFILE"
CREDENTIALS_FILE = "AWS_SHARED_CREDENTIALS_FILE"
SSH_HOST = "SSH_HOSTNAME"
SSH_PORT = "SSH_PORT"
SSH_USER = "SSH_USERNAME"
SSH_KEY = "SSH_PRIVKEY"
SSH_STORE = "SSH_PICTRS_FILES_DIRECTORY"
"""Its first name for the directory on the other machine; PICTRS_FILES_DIRECTORY wins."""

USUAL_BUCKET = "pictrs"

BY_ADDRESS = "IPADDR"  # in the place of an id: the address decides; never an id itself
# Whom pictrs-safety lets in without being told, but for its slips: it took all of 100.x to 109.x for private.
PRIVATE = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


def settings_from(variables: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return what the old names set, as nested plain values, and what is wrong with them."""
    problems: list[str] = []
    found: dict[str, Any] = {}
    if directory := variables.get(STORE):
        found["store"] = "file://" + quote_from_bytes(os.fsencode(Path(directory).absolute()))
    gate = _gate(variables, problems)
    if gate:
        found["gate"] = gate
    worker: dict[str, Any] = {}
    if url := variables.get(SAFETY_URL):
        worker["gates"] = [{"name": "pictrs-safety", "url": url}]
    if key := variables.get(SAFETY_KEY):
        worker["key"] = key
    if worker:
        found["worker"] = worker
    return found, problems


def fill(settings: dict[str, Any], variables: Mapping[str, str]) -> None:
    """Set what nested plain settings leave open of the access to object storage and over SSH, and of the store.

    These names are other programs' too, so that unlike the others they never win over the configuration file.
    """
    stores = settings.get("stores")
    for place in (settings, *(stores if isinstance(stores, list) else ())):
        if place is settings or (isinstance(place, dict) and place.get("s3") is not None):
            _fill_s3(place.setdefault("s3", {}), variables)
    ssh = settings.setdefault("ssh", {})
    if isinstance(ssh, dict) and variables.get(SSH_KEY):
        _open(ssh, "identity_file", variables[SSH_KEY])
    if not stores and (url := bucket_url(variables)) is not None:
        _open(settings, "store", url)


def bucket_url(variables: Mapping[str, str]) -> str | None:
    """Return the store that the names for object storage mean; None where they name none."""
    if not variables.get(ENDPOINT) and not variables.get(BUCKET):
        return None
    return f"s3://{variables.get(BUCKET) or USUAL_BUCKET}"


def _fill_s3(s3: object, variables: Mapping[str, str]) -> None:
    if not isinstance(s3, dict):  # the schema says what is wrong with it
        return
    _open(s3, "endpoint", variables.get(ENDPOINT))
    _open(s3, "region", variables.get(REGION) or variables.get(DEFAULT_REGION))
    _open(s3, "credentials_file", variables.get(CREDENTIALS_FILE))
    if s3.get("profile") is not None:
        return
    _open(s3, "profile", variables.get(PROFILE))
    if s3.get("access_key_id") is None:
        _open(s3, "access_key_id", variables.get(KEY_ID))
        _open(s3, "session_token", variables.get(SESSION_TOKEN))
    _open(s3, "secret_access_key", variables.get(SECRET_KEY))


def _open(section: dict[str, Any], key: str, value: str | None) -> None:
    """Set a key that is still open."""
    if value and section.get(key) is None:
        section[key] = value


def unused_database(variables: Mapping[str, str]) -> str | None:
    """Return what is to be said where pictrs-safety was told to keep its queue in PostgreSQL."""
    if variables.get(USE_SQLITE, "1") == "0" and variables.get(POSTGRES):
        return f"{POSTGRES} is not used: the queue is kept in memory, the record in the ledger"
    return None


def _gate(variables: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    gate: dict[str, Any] = {}
    if key := variables.get(WORKER_AUTH):
        gate["worker_keys"] = {"worker": key}
    ids = [word for word in _words(variables, KNOWN_IDS, problems) if word != BY_ADDRESS]
    if ids:
        gate["tokens"] = {f"pict-rs-{number}": word for number, word in enumerate(ids, 1)}
    networks = [text for word in _words(variables, KNOWN_IPS, problems) if (text := _network(word, problems))]
    if any(variables.get(name) for name in (WORKER_AUTH, KNOWN_IDS, KNOWN_IPS)):
        gate["networks"] = [*PRIVATE, *(text for text in networks if text not in PRIVATE)]
    numbers: tuple[tuple[str, str, Callable[[str], float]], ...] = (
        (BYPASS, "worker_queue", _count),
        (MISSING, "worker_missing_s", _count),
        (PATIENCE, "deadline_s", _seconds),
    )
    for name, key, read in numbers:
        if text := variables.get(name):
            try:
                gate[key] = read(text)
            except ValueError:
                problems.append(f"{name}: a whole number is wanted, not {text!r:.40}")
    return gate


def _words(variables: Mapping[str, str], name: str, problems: list[str]) -> list[str]:
    """Return the words of a JSON list; a plain word stands for a list of one."""
    text = variables.get(name, "").strip()
    if not text:
        return []
    try:
        words = json.loads(text) if text[0] in '["' else [text]
    except ValueError:
        words = None
    if isinstance(words, str):
        words = [words]
    if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
        problems.append(f'{name}: a JSON list of words is wanted, such as ["one", "two"]')
        return []
    return [word.strip() for word in words]


def _network(word: str, problems: list[str]) -> str | None:
    try:
        return str(ip_network(word, strict=False))
    except ValueError:
        problems.append(f"{KNOWN_IPS}: {word!r:.60} is neither an address nor a network")
        return None


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    """Return pictrs-safety's number of looks, one a second, as a deadline within its bounds."""
    return float(min(max(_count(text), 1), 600))
