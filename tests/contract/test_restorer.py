"""Objects are sealed, removed and restored: bytes and all that is beside them, in every kind of store."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fedi_safety.acts.purge import RemovePurging, open_purge
from fedi_safety.app.sealing import act_after_seal, opened_restorer
from fedi_safety.config.schema import S3, Pictrs, Settings, Ssh
from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.errors import StoreUsageError, Unscannable
from fedi_safety.core.ports import Act, Store
from fedi_safety.core.sealing.copies import Restorer
from fedi_safety.core.types import Object, Plan
from fedi_safety.stores import open_store
from fedi_safety.stores.restoring import restorer_of
from fedi_safety.stores.restoring import s3 as s3_restoring
from support.corpus.photos import jpeg_bytes
from support.fakes import FakeClock
from support.needs import needs
from support.sealing import RememberedSeals, SealedFolder
from support.servers.pictrs import pictrs_server
from support.servers.s3 import S3Server, s3_server
from support.servers.sshd import AS_ROOT, Sshd, new_base

PICTURE = jpeg_bytes("astronaut", size=320)


def only(store: Store, key: str = "") -> Object:
    (found,) = [item for item in store.list() if isinstance(item, Object) and item.key.startswith(key)]
    return found


def sealed(
    store: Store, folder: Path, key: str = "", then: Act | None = None, restorer: Restorer | None = None
) -> dict[str, Any]:
    """Seal and remove an object; return the manifest of its copy."""
    obj = only(store, key)
    data = store.fetch(obj, lambda _head: None)
    vault = SealedFolder(folder / "vault")
    act = vault.act(store, RememberedSeals(), FakeClock(), then=then, restorer=restorer)
    outcome = act.perform(Plan(1, obj, hashlib.sha256(data).digest(), ActKind.SEAL, PlanState.STARTED))
    assert outcome.state is PlanState.DONE, outcome.detail
    (opened,) = vault.opened().values()
    assert opened.data == data
    return dict(opened.manifest)


def restored(store: Store, manifest: dict[str, Any], data: bytes) -> tuple[list[str], list[str]]:
    """Put it back; return what was said to be lost before, and what differs after."""
    restorer = restorer_of(store)
    before = list(restorer.lost(manifest["described"]))
    after = list(restorer.put_back(manifest["key"], data, manifest["described"]))
    restorer.close()
    return before, after


def files_of(path: Path) -> dict[str, Any]:
    info = path.stat()
    return {
        "data": path.read_bytes(),
        "mode": stat.S_IMODE(info.st_mode),
        "mtime_ns": info.st_mtime_ns,
        "owner": (info.st_uid, info.st_gid),
        "xattrs": {name: os.getxattr(path, name) for name in os.listxattr(path)},
    }


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    """Mode, times, owner and extended attributes, in a directory that is gone meanwhile."""
    media = tmp_path / "media"
    path = media / "deep/er/picture.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(PICTURE)
    path.chmod(0o640)
    os.utime(path, ns=(1_600_000_000_111_222_333, 1_500_000_000_123_456_789))
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    try:
        os.setxattr(path, "user.mime_type", b"image/jpeg")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    was = files_of(path)
    store = open_store(str(media))
    manifest = sealed(store, tmp_path)
    assert not path.exists()
    path.parent.rmdir()
    before, after = restored(store, manifest, PICTURE)
    assert files_of(path) == was
    assert before == ["the change time and the inode are new"]
    assert after == ["1 directories above it were gone, and are new"]
    assert [each.name for each in path.parent.iterdir()] == ["picture.jpg"]
    with pytest.raises(StoreUsageError, match="something stands there already"):
        restored(store, manifest, PICTURE)
    store.close()


def test_other_names_of_a_file_are_named_before(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media/one").write_bytes(PICTURE)
    (tmp_path / "media/two").hardlink_to(tmp_path / "media/one")
    store = open_store(str(tmp_path / "media"))
    manifest = sealed(store, tmp_path, "one")
    before, _ = restored(store, manifest, PICTURE)
    assert "1 other names of the same file are files of their own then" in before
    assert (tmp_path / "media/two").read_bytes() == PICTURE
    store.close()


@pytest.mark.needs("sftp")
def test_a_file_comes_back_over_sftp(tmp_path: Path) -> None:
    base = new_base()
    running = Sshd(base)
    running.trust()
    running.start()
    try:
        path = running.media / "deep/picture.jpg"
        path.parent.mkdir()
        path.write_bytes(PICTURE)
        path.chmod(0o640)
        os.utime(path, (1_600_000_000, 1_500_000_000))
        if AS_ROOT:
            uid = running.media.stat().st_uid
            for each in (path.parent, path):
                os.chown(each, uid, -1)
        was = files_of(path)
        access = {"known_hosts": str(running.known_hosts), "identity_file": str(running.identity)}
        store = open_store(running.url, Settings(ssh=Ssh.model_validate(access)))
        manifest = sealed(store, tmp_path)
        assert not path.exists()
        before, after = restored(store, manifest, PICTURE)
        now = files_of(path)
        assert {name: now[name] for name in ("data", "mode", "mtime_ns")} == {
            name: was[name] for name in ("data", "mode", "mtime_ns")
        }
        assert now["owner"][0] == was["owner"][0]
        assert "extended attributes do not come over SFTP" in before[0]
        assert [line for line in after if not line.startswith("gid")] == []
        with pytest.raises(StoreUsageError, match="something stands there already"):
            restored(store, manifest, PICTURE)
        store.close()
    finally:
        running.stop()
        shutil.rmtree(base)


@pytest.fixture(scope="module")
@needs("s3")
def service() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.mark.parametrize("versions", [False, True])
def test_an_object_comes_back_with_all_its_headers(tmp_path: Path, service: S3Server, versions: bool) -> None:
    running = service
    bucket = running.make_bucket(f"restored-{versions}".lower(), versions=versions)
    client = running.client()
    client.put_object(
        Bucket=bucket,
        Key="dir/picture é.jpg",
        Body=PICTURE,
        ContentType="image/jpeg",
        CacheControl="public, max-age=315576000, immutable",
        ContentDisposition='inline; filename="picture.jpg"',
        ContentEncoding="identity",
        ContentLanguage="de",
        Metadata={"uploader": "somebody", "blurhash": "L6PZfS"},
        Tagging="kind=avatar&of=a%20person",
    )

    def seen() -> dict[str, Any]:
        answer = client.get_object(Bucket=bucket, Key="dir/picture é.jpg")
        names = ("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "Metadata")
        tags = client.get_object_tagging(Bucket=bucket, Key="dir/picture é.jpg")["TagSet"]
        found = {name: answer.get(name) for name in (*names, "StorageClass", "ETag")}
        return {**found, "data": answer["Body"].read(), "tags": sorted((tag["Key"], tag["Value"]) for tag in tags)}

    was = seen()
    keys = {"access_key_id": running.access_key, "secret_access_key": running.secret_key}
    store = open_store(f"s3://{bucket}", Settings(s3=S3.model_validate({**keys, "endpoint": running.endpoint})))
    manifest = sealed(store, tmp_path)
    left = client.list_object_versions(Bucket=bucket) if versions else client.list_objects_v2(Bucket=bucket)
    assert not left.get("Versions") and not left.get("Contents")
    before, after = restored(store, manifest, PICTURE)
    assert seen() == was
    assert after == []
    assert before[0].startswith("the time of storing is new")
    assert len(before) == 1
    with pytest.raises(StoreUsageError, match="something stands there already"):
        restored(store, manifest, PICTURE)
    store.close()


KEY = "dir/picture é.jpg"


def versions_of(client: Any, bucket: str) -> list[dict[str, Any]]:
    """All of a bucket's only key, the newest first by their own names: bytes, headers, tags, and marks of deletion."""
    answer = client.list_object_versions(Bucket=bucket)
    listed = [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])]
    found: list[dict[str, Any]] = []
    for each in sorted(listed, key=lambda one: one["VersionId"], reverse=True):
        if "ETag" not in each:
            found.append({"deleted": True})
            continue
        asked = {"Bucket": bucket, "Key": each["Key"], "VersionId": each["VersionId"]}
        got = client.get_object(**asked)
        names = ("ContentType", "CacheControl", "ContentDisposition", "Metadata", "StorageClass", "ETag")
        tags = client.get_object_tagging(**asked)["TagSet"]
        found.append({**{name: got.get(name) for name in names}, "data": got["Body"].read(), "tags": tags})
    return found


def new_bucket(service: S3Server, name: str) -> str:
    return service.make_bucket(f"{name}-{secrets.token_hex(4)}", versions=True)


def with_history(service: S3Server, name: str) -> tuple[str, Store]:
    """A bucket that keeps versions, with two older ones of a key, a mark of deletion in between, and what stands."""
    bucket, client = new_bucket(service, name), service.client()
    for number, body in enumerate([b"the oldest", b"", b"a newer one", PICTURE]):
        if number == 1:
            client.delete_object(Bucket=bucket, Key=KEY)
        else:
            client.put_object(
                Bucket=bucket,
                Key=KEY,
                Body=body,
                ContentType=f"image/x-{number}",
                CacheControl=f"max-age={number}",
                Metadata={"number": str(number)},
                Tagging=f"number={number}",
            )
        time.sleep(1.1)  # so that their times tell them apart
    keys = {"access_key_id": service.access_key, "secret_access_key": service.secret_key}
    return bucket, open_store(f"s3://{bucket}", Settings(s3=S3.model_validate({**keys, "endpoint": service.endpoint})))


@pytest.mark.long
def test_older_versions_are_sealed_with_it_and_come_back_in_order(tmp_path: Path, service: S3Server) -> None:
    """A removal takes every version of a key: all are in the copy, with what each had, and come back byte for byte."""
    bucket, store = with_history(service, "with-history")
    client = service.client()
    was = versions_of(client, bucket)
    assert [version.get("data") for version in was] == [PICTURE, b"a newer one", None, b"the oldest"]
    assert was[1]["Metadata"] == {"number": "2"}
    manifest = sealed(store, tmp_path)
    assert versions_of(client, bucket) == []
    (copy,) = SealedFolder(tmp_path / "vault").opened().values()
    assert [each.data for each in copy.older] == [b"the oldest", None, b"a newer one"]
    assert manifest["format"] == 2
    restorer = restorer_of(store)
    assert isinstance(restorer, s3_restoring.S3Restorer)
    assert any("3 older ones" in line for line in restorer.lost(manifest["described"], 3))
    # Killed amid putting back: what is there is the beginning of it, and the next try goes on.
    whole = restorer._client.ask
    left = 2

    def until_killed(name: str, **asked: Any) -> Any:
        nonlocal left
        left -= name in ("put_object", "delete_object")
        if left < 0:
            raise RuntimeError("killed")
        return whole(name, **asked)

    with pytest.MonkeyPatch.context() as killed, pytest.raises(RuntimeError, match="killed"):
        killed.setattr(restorer._client, "ask", until_killed)
        restorer.put_back(KEY, copy.data, manifest["described"], copy.older)
    assert len(versions_of(client, bucket)) == 2
    for _ in range(2):  # once more changes nothing
        assert restorer.put_back(KEY, copy.data, manifest["described"], copy.older) == []
        assert versions_of(client, bucket) == was
    client.put_object(Bucket=bucket, Key=KEY, Body=b"another")
    with pytest.raises(StoreUsageError, match="something stands there already"):
        restorer.put_back(KEY, copy.data, manifest["described"], copy.older)
    store.close()


def test_older_versions_stay_in_the_copy_where_a_bucket_keeps_none_any_more(tmp_path: Path, service: S3Server) -> None:
    bucket, store = with_history(service, "history-no-more")
    manifest = sealed(store, tmp_path)
    (copy,) = SealedFolder(tmp_path / "vault").opened().values()
    service.set_versioning(bucket, "Suspended")
    (differs,) = restorer_of(store).put_back(KEY, copy.data, manifest["described"], copy.older)
    assert "the bucket keeps no versions now: 3 older ones stay in the copy" in differs
    (left,) = service.client().list_object_versions(Bucket=bucket)["Versions"]
    assert left["Size"] == len(PICTURE)
    store.close()


def test_no_version_goes_that_is_not_in_the_copy(tmp_path: Path, service: S3Server) -> None:
    """What is stored under the key while it is sealed, or after a run that was killed, keeps the original there."""
    bucket, client = new_bucket(service, "meanwhile"), service.client()
    client.put_object(Bucket=bucket, Key=KEY, Body=PICTURE)
    keys = {"access_key_id": service.access_key, "secret_access_key": service.secret_key}
    store = open_store(f"s3://{bucket}", Settings(s3=S3.model_validate({**keys, "endpoint": service.endpoint})))
    vault, seals = SealedFolder(tmp_path / "vault"), RememberedSeals()
    obj = only(store)
    plan = Plan(1, obj, hashlib.sha256(PICTURE).digest(), ActKind.SEAL, PlanState.STARTED)

    def meanwhile() -> None:
        client.put_object(Bucket=bucket, Key=KEY, Body=b"something else")
        client.put_object(Bucket=bucket, Key=KEY, Body=PICTURE)

    record = seals.record_seal

    def and_then(*arguments: Any) -> bool:
        free = record(*arguments)
        meanwhile()
        return free

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(seals, "record_seal", and_then)
        outcome = vault.act(store, seals, FakeClock()).perform(plan)
    assert outcome.state is PlanState.FAILED and "not in the sealed copy" in outcome.detail
    assert len(versions_of(client, bucket)) == 3
    (first,) = vault.opened().values()
    assert first.older == ()
    # The next run seals anew what is there, in the place of the first copy, and then it goes.
    outcome = vault.act(store, seals, FakeClock()).perform(plan)
    assert outcome.state is PlanState.DONE, outcome.detail
    (second,) = vault.opened().values()
    assert sorted(each.data or b"" for each in second.older) == sorted([PICTURE, b"something else"])
    assert versions_of(client, bucket) == []
    # Half gone, and something new came: nothing is sealed over what was, and nothing goes.
    meanwhile()
    plan = Plan(1, only(store), plan.sha256, ActKind.SEAL, PlanState.STARTED)
    outcome = vault.act(store, seals, FakeClock()).perform(plan)
    assert outcome.state is PlanState.FAILED and "some that were are gone" in outcome.detail
    assert vault.opened() == {next(iter(vault.opened())): second}
    assert len(versions_of(client, bucket)) == 2
    store.close()


def test_more_older_versions_than_fit_are_no_removal(
    tmp_path: Path, service: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, client = new_bucket(service, "too-many"), service.client()
    for body in (b"older" * 10, PICTURE):
        client.put_object(Bucket=bucket, Key=KEY, Body=body)
    monkeypatch.setattr(s3_restoring, "MOST_OLDER_BYTES", 49)
    keys = {"access_key_id": service.access_key, "secret_access_key": service.secret_key}
    store = open_store(f"s3://{bucket}", Settings(s3=S3.model_validate({**keys, "endpoint": service.endpoint})))
    plan = Plan(1, only(store), hashlib.sha256(PICTURE).digest(), ActKind.SEAL, PlanState.STARTED)
    outcome = SealedFolder(tmp_path / "vault").act(store, RememberedSeals(), FakeClock()).perform(plan)
    assert outcome.state is PlanState.FAILED and "1 older versions of it have 0 MiB" in outcome.detail
    assert len(versions_of(client, bucket)) == 2
    store.close()


@pytest.mark.needs("pictrs")
def test_a_picture_comes_back_under_all_its_aliases(tmp_path: Path) -> None:
    """By pict-rs' own import; where it makes the bytes anew that is said, with both hashes."""
    with pictrs_server() as running:
        aliases = [running.upload(jpeg_bytes("astronaut")), running.upload(jpeg_bytes("astronaut"))]
        store = open_store(running.store_url, Settings(pictrs=Pictrs(api_key=SecretStr(running.api_key))))
        data = store.fetch(only(store), lambda _head: None)
        manifest = sealed(store, tmp_path, then=RemovePurging(store))
        assert {running.status(alias) for alias in aliases} == {404}
        before, after = restored(store, manifest, data)
        assert {running.status(alias) for alias in aliases} == {200}
        assert set(running.internal("GET", "aliases", alias=aliases[0])["aliases"]) == set(aliases)
        there = running.http.get(f"{running.url}/image/original/{aliases[0]}").content
        same = there == data
        assert (
            any("made the bytes anew" in line and hashlib.sha256(there).hexdigest() in line for line in after) != same
        )
        assert "pict-rs may make the bytes anew, as of an upload" in before
        assert restored(store, manifest, data)[1] == after  # once more changes nothing
        store.close()


@pytest.mark.needs("pictrs")
def test_a_file_that_belongs_to_a_pictrs_goes_and_comes_back_through_it(tmp_path: Path) -> None:
    """Its aliases are in the copy, though the store that is scanned is a directory."""
    with pictrs_server() as running:
        alias = running.upload(jpeg_bytes("coffee"))
        access = Pictrs(url=running.url, api_key=SecretStr(running.api_key))
        settings = Settings(pictrs=access)
        store = open_store(str(running.files))
        assert act_after_seal(settings, store.default_act) is ActKind.PURGE
        data = store.fetch(only(store), lambda _head: None)
        restorer = opened_restorer(settings, store)
        manifest = sealed(store, tmp_path, then=open_purge(store, access), restorer=restorer)
        assert manifest["described"]["pictrs"]["aliases"] == [alias]
        assert running.status(alias) == 404 and not [item for item in store.list() if isinstance(item, Object)]
        restorer.put_back(manifest["key"], data, manifest["described"])
        restorer.close()
        assert running.status(alias) == 200
        running.thumbnail(alias)
        variant = next(item for item in store.list() if isinstance(item, Object) and store.fetch(item, _any) != data)
        digest = hashlib.sha256(store.fetch(variant, _any)).digest()
        refused = pytest.raises(Unscannable, match="could not be put back through it")
        with closing(opened_restorer(settings, store)) as again, refused:
            again.describe(variant, digest)
        store.close()


def _any(head: bytes) -> None:
    """Accept every object."""
