"""A real pict-rs on a bucket that keeps versions: what is purged stays readable under no version of any key."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes
from support.needs import needs
from support.program import FACES, program
from support.servers.pictrs import Database, PictrsServer, pictrs_database, pictrs_server
from support.servers.s3 import REGION, S3Server, s3_server

pytestmark = pytest.mark.needs("pictrs")


@pytest.fixture(scope="module")
@needs("s3")
def s3() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
@needs("postgresql")
def database() -> Iterator[Database]:
    with pictrs_database() as running:
        yield running


@pytest.fixture
def faces(tmp_path: Path) -> str:
    path = tmp_path / "faces.toml"
    path.write_text(FACES)
    return str(path)


class Bucket:
    """A pict-rs' bucket that keeps versions."""

    def __init__(self, s3: S3Server, name: str) -> None:
        self.s3 = s3
        self.name = s3.make_bucket(name, versions=True)
        self.url = f"s3://{name}?endpoint={s3.endpoint}&region={REGION}&style=path"

    def variables(self) -> dict[str, str]:
        return {
            "STORE__TYPE": "object_storage", "STORE__ENDPOINT": self.s3.endpoint, "STORE__BUCKET_NAME": self.name,
            "STORE__REGION": REGION, "STORE__USE_PATH_STYLE": "true", "STORE__ACCESS_KEY": self.s3.access_key,
            "STORE__SECRET_KEY": self.s3.secret_key,
        }  # fmt: skip

    def access(self, user: tuple[str, str] | None = None) -> dict[str, str]:
        key_id, secret = user or (self.s3.access_key, self.s3.secret_key)
        return {"FEDI_SAFETY_S3__ACCESS_KEY_ID": key_id, "FEDI_SAFETY_S3__SECRET_ACCESS_KEY": secret}

    def readable(self) -> dict[str, set[str]]:
        """Return the SHA-256 of every version that can be read, by key. Whoever knows a version's id can read it."""
        found: dict[str, set[str]] = {}
        pages = self.s3.client().get_paginator("list_object_versions").paginate(Bucket=self.name)
        for entry in (entry for page in pages for entry in page.get("Versions", [])):
            if entry["Key"] != "health-check":
                answer = self.s3.client().get_object(Bucket=self.name, Key=entry["Key"], VersionId=entry["VersionId"])
                found.setdefault(entry["Key"], set()).add(hashlib.sha256(answer["Body"].read()).hexdigest())
        return found

    def markers(self) -> set[str]:
        """Return the keys that a delete marker hides."""
        found = self.s3.client().list_object_versions(Bucket=self.name).get("DeleteMarkers", [])
        return {entry["Key"] for entry in found}

    def keys(self) -> set[str]:
        """Return what is listed, as everybody sees it."""
        listed = self.s3.client().list_objects_v2(Bucket=self.name).get("Contents", [])
        return {entry["Key"] for entry in listed if entry["Key"] != "health-check"}


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def purging(server: PictrsServer, bucket: Bucket, database: Database | None = None) -> dict[str, str]:
    env = {"FEDI_SAFETY_PICTRS__URL": server.url, "FEDI_SAFETY_PICTRS__API_KEY": server.api_key} | bucket.access()
    return env if database is None else env | {"FEDI_SAFETY_PICTRS__DATABASE": database.reader}


def sha256s(*files: bytes) -> set[str]:
    return {hashlib.sha256(data).hexdigest() for data in files}


def purge_args(bucket: Bucket, faces: str) -> tuple[str, ...]:
    return ("scan", bucket.url, "--act", "purge", "--policy", faces, "--without-dry-run", "--json")


def test_with_the_database_no_version_of_the_picture_or_its_thumbnails_is_left(
    s3: S3Server, database: Database, faces: str
) -> None:
    bucket = Bucket(s3, "with-database")
    repository = {"REPO__TYPE": "postgres", "REPO__URL": database.owner}
    with pictrs_server(**bucket.variables(), **repository) as server:
        good = server.upload(jpeg_bytes("coffee"))
        server.thumbnail(good, 32)
        kept = bucket.readable()
        bad = server.upload(jpeg_bytes("astronaut"))
        for size in (24, 32, 48):  # too small to be condemned by themselves
            server.thumbnail(bad, size)
        assert len(bucket.keys()) == len(kept) + 4
        done = program(*purge_args(bucket, faces), env=purging(server, bucket, database))
        assert done.code == 0, done
        assert (done.json["planned"], done.json["acted"], done.json["failed"]) == (1, 1, 0), done
        assert (server.status(bad), server.status(good)) == (404, 200)
        assert bucket.readable() == kept
        assert bucket.markers() == set()
        assert "expires noncurrent versions" in done.err and "pictrs.database" not in done.err
        (row,) = program("list", "--json", "--verdict", "block").lines
        shown = program("show", row["key"]).out
        assert "with 3 thumbnails or variants" in shown and "older versions of 4 included" in shown


def test_without_the_database_what_may_be_left_is_said(s3: S3Server, faces: str) -> None:
    bucket = Bucket(s3, "without-database")
    with pictrs_server(**bucket.variables()) as server:
        good = server.upload(jpeg_bytes("coffee"))
        bad = server.upload(jpeg_bytes("astronaut"))
        (file,) = [data for data in [server.http.get(f"{server.url}/image/original/{bad}").content] if data]
        (key,) = [key for key, contents in bucket.readable().items() if contents == sha256s(file)]
        small = server.thumbnail(bad, 32)
        server.upload(jpeg_bytes("astronaut"))  # pict-rs stores it, and hides it at once
        assert len(bucket.readable()) == 4 and len(bucket.keys()) == 3
        done = program(*purge_args(bucket, faces), env=purging(server, bucket))
        assert done.code == 0, done
        assert (server.status(bad), server.status(good)) == (404, 200)
        readable = bucket.readable()
        assert key not in readable, "the removed object is gone in every version"
        # The honest part: these two nobody can name, and that is said once, and kept with the act.
        left = {content for contents in readable.values() for content in contents}
        assert sha256s(small, file) <= left and len(readable) == 3
        assert done.err.count("the bucket keeps versions") == 1
        for word in ("second upload", "expires noncurrent versions", "thumbnails", "pictrs.database"):
            assert word in done.err
            assert word in program("show", key).out


def test_a_condemned_thumbnail_goes_in_every_version_too(s3: S3Server, faces: str) -> None:
    bucket = Bucket(s3, "condemned-thumbnail")
    with pictrs_server(**bucket.variables()) as server:
        bad = server.upload(jpeg_bytes("astronaut"))
        server.thumbnail(bad, 400)
        assert len(bucket.readable()) == 2
        program(*purge_args(bucket, faces), env=purging(server, bucket))
        # Where the thumbnail came first it failed, with what to do; the original's purge has hidden it by now.
        last = program("apply", bucket.url, env={**purging(server, bucket), "FEDI_SAFETY_ACT": "purge"})
        assert last.code == 0, last
        assert server.status(bad) == 404
        assert bucket.readable() == {} and bucket.markers() == set()


def test_a_purge_that_was_killed_after_pictrs_had_done_its_part_is_finished(s3: S3Server, faces: str) -> None:
    bucket = Bucket(s3, "killed")
    with pictrs_server(**bucket.variables()) as server:
        bad = server.upload(jpeg_bytes("astronaut"))
        dry = program(*purge_args(bucket, faces), "--dry-run", env=purging(server, bucket))
        assert dry.json["planned"] == 1, dry
        server.internal("POST", "purge", alias=bad)
        wait_for(lambda: not bucket.keys())
        assert len(bucket.readable()) == 1
        done = program("apply", bucket.url, "--json", env={**purging(server, bucket), "FEDI_SAFETY_ACT": "purge"})
        assert (done.code, done.json["acted"]) == (0, 1), done
        assert bucket.readable() == {} and bucket.markers() == set()


def test_without_the_right_to_see_versions_the_act_fails_until_it_is_granted(s3: S3Server, faces: str) -> None:
    bucket = Bucket(s3, "no-right")
    user = ("purger", "secret-of-the-purger")
    s3.add_user(*user)
    rights = ("s3:ListBucket", "s3:GetObject", "s3:DeleteObject")
    s3.allow(bucket.name, user[0], *rights)
    with pictrs_server(**bucket.variables()) as server:
        bad = server.upload(jpeg_bytes("astronaut"))
        env = purging(server, bucket) | bucket.access(user)
        done = program(*purge_args(bucket, faces), env=env)
        assert done.code == 3, done
        assert "s3:ListBucketVersions" in done.err and "still stored" in done.err
        assert server.status(bad) == 404 and len(bucket.readable()) == 1
        more = ("s3:ListBucketVersions", "s3:GetObjectVersion", "s3:DeleteObjectVersion")
        s3.allow(bucket.name, user[0], *rights, *more)
        done = program("apply", bucket.url, env={**env, "FEDI_SAFETY_ACT": "purge"})
        assert done.code == 0, done
        assert bucket.readable() == {} and bucket.markers() == set()
