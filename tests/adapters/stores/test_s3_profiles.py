"""Keys of S3 in `~/.aws/credentials`: which are taken, and what is said of those that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedi_safety.config.schema import S3
from fedi_safety.core.errors import StoreUsageError
from fedi_safety.stores.s3.address import Address, read_address

FILE = """
[default]
aws_access_key_id = the-default
aws_secret_access_key = secret-one
region = eu-central-1

[media]
aws_access_key_id=the-media
aws_secret_access_key=secret=two
aws_session_token=token

[role]
role_arn = arn:aws:iam::1:role/x
source_profile = default
"""


@pytest.fixture
def file(empty_home: Path) -> Path:
    (empty_home / ".aws").mkdir()
    path = empty_home / ".aws/credentials"
    path.write_text(FILE)
    return path


def address(**access: str) -> Address:
    return read_address("s3://bucket", S3.model_validate(access))


@pytest.mark.usefixtures("file")
def test_a_profile_has_what_is_configured_nowhere() -> None:
    found = address()
    assert (found.access_key_id, found.secret_access_key, found.region) == ("the-default", "secret-one", "eu-central-1")
    found = address(profile="media", region="x")
    assert (found.access_key_id, found.secret_access_key) == ("the-media", "secret=two")
    assert (found.session_token, found.region) == ("token", "x")
    found = address(access_key_id="mine", secret_access_key="my secret", profile="media")
    assert (found.access_key_id, found.session_token, found.region) == ("mine", None, "us-east-1")


@pytest.mark.usefixtures("file")
def test_half_a_pair_is_never_completed_by_another_s_half() -> None:
    for half in ({"access_key_id": "mine"}, {"secret_access_key": "my secret"}):
        with pytest.raises(StoreUsageError, match="there is no"):
            address(**half)


@pytest.mark.parametrize(
    ("text", "access", "words"),
    [
        (FILE, {"profile": "absent"}, "there is no profile 'absent'"),
        (FILE, {"profile": "role"}, "'role' has no pair of plain keys"),
        (FILE, {"credentials_file": "elsewhere"}, "elsewhere: the file of keys is not there"),
        ("no section\n", {}, "cannot be read"),
        ("[default]\naws_access_key_id = x\n", {}, "'default' has no pair"),
        ("[other]\naws_access_key_id = x\n", {}, "no access key id"),
        ("\xff[default", {}, "cannot be read"),
    ],
)
def test_what_is_not_there_is_one_line(file: Path, text: str, access: dict[str, str], words: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreUsageError, match=words) as caught:
        address(**access)
    line = caught.value.line()
    assert "\n" not in line and "secret-one" not in line


def test_without_any_file_the_ways_to_set_keys_are_named() -> None:
    with pytest.raises(StoreUsageError, match="no access key id") as caught:
        address()
    assert "~/.aws/credentials" in caught.value.remedy
