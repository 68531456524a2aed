"""A vault in a bucket, or below a prefix of one."""

from __future__ import annotations

from collections.abc import Iterable

from fedi_safety.config.schema import S3
from fedi_safety.core.errors import StoreError
from fedi_safety.core.sealing.copies import is_whole
from fedi_safety.stores.s3.faults import Kind, S3Fault
from fedi_safety.stores.s3.store import open_s3

_TYPE = "application/octet-stream"


class S3Vault:
    """A bucket of sealed files; see the `Vault` port. Of a bucket that keeps versions, one of each name stays."""

    takes_whole = True

    def __init__(self, url: str, access: S3) -> None:
        """Connect; raises as `open_s3` does."""
        self._store = open_s3(url, access)
        self._client = self._store.client
        self.url = self._store.url

    def put(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Store a file, and remove what an earlier try left under its name; see the `Vault` port."""
        key, bucket, body = self._key(name), self._store.address.bucket, b"".join(pieces)
        try:
            self._client.ask("put_object", Bucket=bucket, Key=key, Body=body, ContentType=_TYPE)
            for version in self._versions(key):
                if not version[1]:
                    self._client.delete(key, version[0])
        except S3Fault as fault:
            raise self._failed(fault) from None

    def draft(self) -> None:
        """Return nothing: what lies there has a name."""

    def get(self, name: str) -> bytes | None:
        """Read a file; see the `Vault` port."""

        def whole() -> bytes:
            body = self._client.get(self._key(name))
            try:
                data = body.read(body.head.size or 0)
            finally:
                body.close()
            if len(data) != (body.head.size or 0):
                raise S3Fault(Kind.AGAIN, f"{len(data)} of {body.head.size} bytes came", "try again later")
            return data

        try:
            return self._client.insist(whole)
        except S3Fault as fault:
            if fault.kind is Kind.GONE:
                return None
            raise self._failed(fault) from None

    def holds(self, name: str, data: bytes | memoryview) -> bool:
        """Read a file and compare it; see the `Vault` port."""
        return is_whole(self.get(name), data)

    def remove(self, name: str) -> bool:
        """Delete a file with every version and marker; see the `Vault` port."""
        key = self._key(name)
        try:
            there = self.get(name) is not None
            versions = [found for found, _ in self._versions(key) if found]
            for version in versions:
                self._client.delete(key, None if version == "null" else version)
            if not versions and self._client.delete(key):
                raise StoreError(
                    f"vault {self.url}",
                    f"the bucket keeps versions, so {name} is hidden and still stored",
                    "grant s3:ListBucketVersions and s3:DeleteObjectVersion",
                )
            if self.get(name) is not None:
                raise StoreError(f"vault {self.url}", f"{name} is still there after its removal", "try again")
        except S3Fault as fault:
            raise self._failed(fault) from None
        return there or bool(versions)

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def _key(self, name: str) -> str:
        return self._store.address.root + name

    def _versions(self, key: str) -> list[tuple[str, bool]]:
        """Return the versions of a key and whether each is the latest; none where the service keeps none."""
        try:
            return [(version.id, version.latest) for version in self._client.versions(key)]
        except S3Fault as fault:
            if fault.kind in (Kind.UNSUPPORTED, Kind.DENIED):
                return []
            raise

    def _failed(self, fault: S3Fault) -> StoreError:
        remedy = fault.remedy or "grant s3:PutObject, s3:GetObject and s3:DeleteObject on the vault's bucket"
        error = StoreError(f"vault {self.url}", fault.cause, remedy)
        return error.as_refused() if fault.refuses else error
