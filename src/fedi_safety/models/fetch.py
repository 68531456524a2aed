"""Takes a model from a hub into the models directory: whole, checked, recorded, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from fedi_safety.clients.hub import Hub, RemoteFile
from fedi_safety.core.errors import ExitCode, ModelError
from fedi_safety.models.folder import REQUIRED, file_sha256, is_of_model, open_model_folder
from fedi_safety.models.lock import Locked, altered, only_writer, read_lock
from fedi_safety.models.names import folder_name, repository_of
from fedi_safety.models.placing import place

MAIN = "main"


class AlteredOnHub(ModelError):
    """The hub has other files than those that were recorded for the same revision."""

    exit_code = ExitCode.OUTSIDE


class NotTrusted(ModelError):
    """Nothing on record says what a model's files should be. What the hub states of them (`stated`) proves nothing."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str, source: str, commit: str, stated: Sequence[RemoteFile]) -> None:
        """Say it of a model's files at a commit."""
        super().__init__(
            f"model {name!r}",
            f"of {len(stated)} files from {source} at {commit} no digest is on record, and none comes with the program",
            f"compare what the hub states with who publishes it, then give --revision {commit} --trust-first",
        )
        self.stated = tuple(stated)


class Watcher(Protocol):
    """Is told how a fetch goes on."""

    def begins(self, repository: str, commit: str, total_bytes: int) -> None:
        """The hub has answered; so many bytes are to be had."""

    def file(self, path: str) -> None:
        """This file is next."""

    def bytes(self, count: int) -> None:
        """So many bytes more are there (or fewer, if negative)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch led to."""

    path: Path
    source: str
    revision: str
    brought: int  # files that came over the network; 0 if all were there
    changed: bool  # another revision lay there before
    first: Mapping[str, str]  # SHA-256 of the files that nothing on record vouched for, by path


def fetch(
    name: str, models: Path, hub: Hub, watcher: Watcher, revision: str | None = None, *, trust_first: bool = False
) -> Fetched:
    """Fetch a model, at the revision on record or else `main`, unless another is asked for.

    Files that are there and right are kept; what an interrupted fetch left is gone on with. Raises `NotTrusted` for
    files whose digests are not on record for that revision, unless `trust_first`; they are from then on. Raises
    `ModelError`, also where the hub's files are not those on record, or `HubError`.
    """
    repository, called = repository_of(name), folder_name(name)
    source = f"{hub.endpoint}/{repository}"
    with only_writer(models):
        known = read_lock(models).get(called)
        commit = hub.commit(repository, _wanted(called, source, known, revision))
        recorded = known.files if known is not None and (known.source, known.revision) == (source, commit) else {}
        files = _listed(hub, repository, commit)
        _refuse_changes(called, recorded, {file.path: file.sha256 for file in files if file.sha256})
        paths = {file.path for file in files}
        _refuse_missing(called, recorded.keys() - paths)
        unknown = [file for file in files if file.path not in recorded]
        if unknown and not trust_first:
            raise NotTrusted(called, source, commit, unknown)
        if known is not None and recorded.keys() == paths and not altered(models / called, known):
            return Fetched(models / called, source, commit, 0, False, {})
        watcher.begins(repository, commit, sum(file.size for file in files))
        part = models / f".{called}.{commit[:12]}.part"
        _make_room(part, models, called, files)
        digests, brought = _fill(part, models / called, files, partial(hub.download, repository, commit), watcher)
        _refuse_changes(called, recorded, digests)
        open_model_folder(part)
        changed = known is not None and not recorded
        place(part, models, called, Locked(source, commit, digests), keep_variants=bool(recorded))
    first = {file.path: digests[file.path] for file in unknown}
    return Fetched(models / called, source, commit, brought, changed, first)


_LAYOUT = "a model in Immich's layout is needed: visual/, textual/ and config.json, as ONNX"


def _wanted(called: str, source: str, known: Locked | None, revision: str | None) -> str:
    """Return the revision to ask for: the one on record, unless another is asked for. Raises `ModelError`."""
    if known is None or revision is not None:
        return revision or MAIN
    if known.source != source:
        raise ModelError(
            f"model {called!r}", f"already there, from {known.source}", "give --revision to replace it by this one"
        )
    return known.revision


def _listed(hub: Hub, repository: str, commit: str) -> list[RemoteFile]:
    """Return the hub's files that belong to a model. Raises `ModelError` where it has not all that a model needs."""
    files = [file for file in hub.files(repository, commit) if is_of_model(file.path)]
    missing = sorted(set(REQUIRED) - {file.path for file in files})
    if missing:
        raise ModelError(f"model {repository!r}", f"the hub's has no {', '.join(missing)}", _LAYOUT)
    return files


def _fill(
    part: Path,
    there: Path,
    files: list[RemoteFile],
    download: Callable[[RemoteFile, Path, Callable[[int], None]], str],
    watcher: Watcher,
) -> tuple[dict[str, str], int]:
    """Bring every file into `part`, those that lie in `there` already by a link; return digests, and how many came."""
    digests: dict[str, str] = {}
    brought = 0
    for file in files:
        watcher.file(file.path)
        target = part / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if _have(there / file.path, file):
            _link(there / file.path, target)
            watcher.bytes(file.size)
            digests[file.path] = file_sha256(target)
        else:
            digests[file.path] = download(file, target, watcher.bytes)
            brought += 1
    return digests, brought


def _refuse_changes(name: str, recorded: Mapping[str, str], found: Mapping[str, str]) -> None:
    """A commit's files never change; if they seem to, somebody is at work on the hub or on the way to it."""
    for path in recorded.keys() & found.keys():
        if found[path] != recorded[path]:
            raise AlteredOnHub(
                f"model {name!r}",
                f"the hub's {path} has SHA-256 {found[path]}, not {recorded[path]} as recorded for this revision",
                "do not use it; ask who publishes the model",
            )


def _refuse_missing(name: str, paths: Collection[str]) -> None:
    for path in sorted(paths):
        raise AlteredOnHub(
            f"model {name!r}",
            f"the hub has no {path}, which is on record for this revision",
            "do not use it; ask who publishes the model",
        )


def _have(path: Path, file: RemoteFile) -> bool:
    """Whether the very file lies in the model's folder already."""
    return path.is_file() and path.stat().st_size == file.size and file_sha256(path) == file.sha256


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _make_room(part: Path, models: Path, called: str, files: list[RemoteFile]) -> None:
    """Prepare the folder that is filled, throw away those of other revisions, and see that all will fit."""
    for stale in models.glob(f".{called}.*.part"):
        if stale != part:
            shutil.rmtree(stale)
    part.mkdir(parents=True, exist_ok=True)
    there = sum(p.stat().st_size for p in part.rglob("*") if p.is_file())
    needed = sum(file.size for file in files if not _have(models / called / file.path, file)) - there
    free = shutil.disk_usage(models).free
    if needed > free:
        raise ModelError(
            str(models),
            f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free",
            "make room, or choose another --model-dir",
        )
