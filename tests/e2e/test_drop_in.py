"""In the predecessor's place with its `.env`: the line that a dry run ends with works, from any directory.

The clone lies elsewhere than the working directory, as for cron and systemd, and its `.env` beside its scripts.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes
from support.needs import needs
from support.program import FACES
from support.servers import sshd
from support.servers.s3 import S3Server, s3_server
from support.servers.sshd import Sshd

ROOT = Path(__file__).parents[2]
HINT = re.compile(r"^to remove what is planned: (.+)$", re.MULTILINE)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of this program where the predecessor's was: its scripts, and a policy that condemns faces."""
    place = tmp_path / "old place"
    place.mkdir()
    for name in ("fedi-safety", *(script.name for script in ROOT.glob("*_safety_*.py"))):
        shutil.copy2(ROOT / name, place / name)
    for name in ("src", "tools", "requirements.lock"):
        (place / name).symlink_to(ROOT / name)
    (place / ".venv").symlink_to(sys.prefix)
    (place / "faces.toml").write_text(FACES)
    return place


def write_env(clone: Path, **variables: str) -> None:
    lines = {"FEDI_SAFETY_POLICY": str(clone / "faces.toml"), **variables}
    (clone / ".env").write_text("".join(f'{name}="{value}"\n' for name, value in lines.items()))


def run(command: list[str] | str) -> subprocess.CompletedProcess[str]:
    """Run as a person's shell or a timer would: with no name of this program on the PATH."""
    env = {**os.environ, "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, shell=isinstance(command, str), capture_output=True, text=True, check=False, env=env, timeout=120
    )


def dry_run_and_hint(clone: Path, script: str) -> str:
    """Make the predecessor's dry run, and return the line that is to be typed next."""
    dry = run([sys.executable, str(clone / script), "--all", "--dry_run"])
    assert dry.returncode == 0, dry
    found = HINT.search(dry.stdout)
    assert found is not None, dry
    return found[1]


@pytest.fixture(scope="module")
@needs("s3")
def bucket() -> Iterator[S3Server]:
    with s3_server() as running:
        running.make_bucket("pictrs")
        yield running


@pytest.mark.parametrize("where", ["variables", "default profile", "named profile"])
def test_object_storage(bucket: S3Server, clone: Path, empty_home: Path, where: str) -> None:
    """The bucket is called as the predecessor calls it where nobody says otherwise."""
    bucket.put("pictrs", "portrait.jpg", jpeg_bytes("astronaut"))
    bucket.put("pictrs", "coffee.jpg", jpeg_bytes("coffee"))
    if where == "variables":
        access = {"AWS_ACCESS_KEY_ID": bucket.access_key, "AWS_SECRET_ACCESS_KEY": bucket.secret_key}
    else:
        name = "default" if where == "default profile" else "media"
        access = {} if name == "default" else {"AWS_PROFILE": name}
        (empty_home / ".aws").mkdir()
        (empty_home / ".aws/credentials").write_text(
            f"[{name}]\naws_access_key_id = {bucket.access_key}\naws_secret_access_key = {bucket.secret_key}\n"
        )
    write_env(clone, OBJECT_STORAGE_ENDPOINT=bucket.endpoint, **access)
    hint = dry_run_and_hint(clone, "fedi_safety_object_storage.py")
    done = run(f"{hint} --yes")
    assert done.returncode == 0, done
    left = [entry["Key"] for entry in bucket.client().list_objects_v2(Bucket="pictrs")["Contents"]]
    assert left == ["coffee.jpg"]
    assert bucket.secret_key not in done.stdout + done.stderr + hint


@pytest.mark.needs("sftp")
def test_remote_storage(clone: Path) -> None:
    base = sshd.new_base()
    server = Sshd(base)
    try:
        server.trust()
        server.start()
        for name, photo in (("portrait.jpg", "astronaut"), ("coffee.jpg", "coffee")):
            (server.media / name).write_bytes(jpeg_bytes(photo))
            if sshd.AS_ROOT:
                os.chown(server.media / name, server.media.stat().st_uid, -1)
        write_env(
            clone,
            SSH_HOSTNAME="127.0.0.1",
            SSH_PORT=str(server.port),
            SSH_USERNAME=sshd.user(),
            SSH_PRIVKEY=str(server.identity),
            PICTRS_FILES_DIRECTORY=server.path,
            FEDI_SAFETY_SSH__KNOWN_HOSTS=str(server.known_hosts),
        )
        hint = dry_run_and_hint(clone, "fedi_safety_remote_storage.py")
        done = run(f"{hint} --yes")
        assert done.returncode == 0, done
        assert [path.name for path in server.media.iterdir()] == ["coffee.jpg"]
    finally:
        server.stop()
        shutil.rmtree(base, ignore_errors=True)


@pytest.mark.long
def test_local_storage(clone: Path, tmp_path: Path) -> None:
    media = tmp_path / "files"
    media.mkdir()
    for name, photo in (("portrait.jpg", "astronaut"), ("coffee.jpg", "coffee")):
        (media / name).write_bytes(jpeg_bytes(photo))
    write_env(clone, PICTRS_FILES_DIRECTORY=str(media))
    done = run(f"{dry_run_and_hint(clone, 'fedi_safety_local_storage.py')} --yes")
    assert done.returncode == 0, done
    assert [path.name for path in media.iterdir()] == ["coffee.jpg"]


@pytest.mark.long
@pytest.mark.parametrize("quiet", [False, True])
def test_each_removal_is_named_with_its_rule(clone: Path, tmp_path: Path, quiet: bool) -> None:
    media = tmp_path / "files"
    media.mkdir()
    (media / "portrait.jpg").write_bytes(jpeg_bytes("astronaut"))
    (media / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    write_env(clone, PICTRS_FILES_DIRECTORY=str(media))
    script = [sys.executable, str(clone / "fedi_safety_local_storage.py"), "--all", "--yes"]
    done = run([*script, "--quiet"] if quiet else script)
    assert done.returncode == 0 and not (media / "portrait.jpg").exists(), done
    assert "removed portrait.jpg (a face)" in done.stderr
    assert "coffee" not in done.stderr
