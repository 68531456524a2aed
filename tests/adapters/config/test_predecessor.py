"""The old programs' variables: what they set here, and that a slip in them is said."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from pydantic import SecretStr

from fedi_safety.config import loading
from fedi_safety.config.loading import load_settings
from fedi_safety.config.predecessor import settings_from, unused_database
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import ConfigError

# As lemmy-ansible sets them, and what pictrs-safety reads besides.
DEPLOYED = {
    "FEDIVERSE_SAFETY_WORKER_AUTH": "abcdefghij12345",
    "FEDIVERSE_SAFETY_IMGDIR": "/tmp/images",
    "USE_SQLITE": "1",
    "SCAN_BYPASS_THRESHOLD": "10",
    "MISSING_WORKER_THRESHOLD": "5",
}


def load(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def lets_in(settings: Settings, address: str) -> bool:
    return any(ip_address(address) in network for network in settings.gate.networks)


def test_a_deployed_pictrs_safety_configures_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, DEPLOYED | {"KNOWN_PICTRS_IDS": '["__WELCOME_IN__", "IPADDR"]'})
    gate = settings.gate
    assert {name: key.get_secret_value() for name, key in gate.worker_keys.items()} == {"worker": "abcdefghij12345"}
    assert [key.get_secret_value() for key in gate.tokens.values()] == ["__WELCOME_IN__"]
    assert (gate.worker_queue, gate.worker_missing_s, gate.port) == (10, 5.0, 14051)
    for address in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "172.31.9.9", "192.168.1.1"):
        assert lets_in(settings, address), address
    for address in ("103.0.0.1", "104.16.0.1", "100.64.0.1", "172.32.0.1", "192.0.2.1", "2001:db8::1"):
        assert not lets_in(settings, address), address


def test_addresses_and_networks_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, {"KNOWN_PICTRS_IPS": '["203.0.113.9", "198.51.100.7/24", "2001:db8::/32"]'})
    assert lets_in(settings, "203.0.113.9") and not lets_in(settings, "203.0.113.10")
    assert lets_in(settings, "198.51.100.200") and lets_in(settings, "2001:db8::5") and lets_in(settings, "10.0.0.1")


def test_without_them_only_this_machine_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, {"MISSING_WORKER_THRESHOLD": "0", "SCAN_BYPASS_THRESHOLD": "0"})
    assert not lets_in(settings, "10.0.0.1") and lets_in(settings, "127.0.0.1")
    assert (settings.gate.worker_queue, settings.gate.worker_missing_s) == (0, 0.0)


@pytest.mark.parametrize(("said", "meant"), [("120", 120.0), ("0", 1.0), ("9999", 600.0)])
def test_the_time_threshold_is_the_deadline(monkeypatch: pytest.MonkeyPatch, said: str, meant: float) -> None:
    assert load(monkeypatch, {"FEDIVERSE_SAFETY_TIME_THRESHOLD": said}).gate.deadline_s == meant


def test_our_own_names_win_and_keys_come_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key is changed by adding the new one, moving the workers, and taking the old one away."""
    keys = '{"new": "the new one"}'
    settings = load(monkeypatch, DEPLOYED | {"FEDI_SAFETY_GATE__WORKER_KEYS": keys, "FEDI_SAFETY_GATE__QUEUE": "7"})
    assert set(settings.gate.worker_keys) == {"worker", "new"}
    assert settings.gate.queue == 7
    monkeypatch.setenv("FEDI_SAFETY_GATE__WORKER_MISSING_S", "2")
    assert load_settings().gate.worker_missing_s == 2


def test_the_worker_s_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, {"PICTRS_SAFETY_URL": "http://gate:14051", "PICTRS_SAFETY_APIKEY": "k"})
    (gate,) = settings.worker.gates
    assert gate.url == "http://gate:14051"
    assert settings.worker.key is not None and settings.worker.key.get_secret_value() == "k"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KNOWN_PICTRS_IPS", '["300.1.1.1"]'),
        ("KNOWN_PICTRS_IPS", '{"a": 1}'),
        ("KNOWN_PICTRS_IPS", "[192.168.0.1]"),
        ("KNOWN_PICTRS_IDS", '["", "x"]'),
        ("KNOWN_PICTRS_IDS", "[1]"),
        ("SCAN_BYPASS_THRESHOLD", "ten"),
        ("MISSING_WORKER_THRESHOLD", "-1"),
        ("FEDIVERSE_SAFETY_TIME_THRESHOLD", "1.5"),
    ],
)
def test_a_slip_is_said_with_the_variable_s_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load(monkeypatch, {name: value})


def test_a_plain_word_is_a_list_of_one() -> None:
    assert settings_from({"KNOWN_PICTRS_IDS": "welcome"})[0]["gate"]["tokens"] == {"pict-rs-1": "welcome"}
    assert "203.0.113.9/32" in settings_from({"KNOWN_PICTRS_IPS": "203.0.113.9"})[0]["gate"]["networks"]
    assert settings_from({"KNOWN_PICTRS_IDS": '"welcome"'})[0]["gate"]["tokens"] == {"pict-rs-1": "welcome"}


AWS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_SESSION_TOKEN": "token"}
PLACE = {"OBJECT_STORAGE_ENDPOINT": "http://s3.test", "AWS_DEFAULT_REGION": "auto"}


def secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


@pytest.mark.parametrize("source", ["environment", ".env"])
def test_its_names_for_stores_fill_the_settings_of_every_command(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    names = {**AWS, **PLACE, "SSH_PRIVKEY": "/keys/id_rsa", "AWS_PROFILE": "media"}
    if source == ".env":
        Path(".env").write_text("".join(f"{name}={value}\n" for name, value in names.items()))
        names = {}
    settings = load(monkeypatch, names)
    s3 = settings.s3
    assert (s3.access_key_id, secret(s3.secret_access_key), secret(s3.session_token)) == ("id", "a-secret", "token")
    assert (s3.endpoint, s3.region, s3.profile) == ("http://s3.test", "auto", "media")
    assert settings.ssh.identity_file == "/keys/id_rsa"
    assert settings.store == "s3://pictrs"
    assert load_settings(store="/elsewhere").store == "/elsewhere"
    monkeypatch.setenv("PICTRS_BUCKET", "media")
    assert load_settings().store == "s3://media"
    monkeypatch.setenv("PICTRS_FILES_DIRECTORY", "/srv/files")
    assert load_settings().store == "file:///srv/files"


def test_names_that_other_programs_have_too_win_over_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        'store = "/srv/media"\n[s3]\naccess_key_id = "mine"\nsecret_access_key = "my secret"\nregion = "here"\n'
        '[ssh]\nidentity_file = "/my/key"\n'
    )
    for name, value in {**AWS, **PLACE, "SSH_PRIVKEY": "/keys/id_rsa"}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(str(file))
    s3 = settings.s3
    assert (s3.access_key_id, secret(s3.secret_access_key), s3.session_token) == ("mine", "my secret", None)
    assert (s3.region, s3.endpoint, settings.store) == ("here", "http://s3.test", "/srv/media")
    assert settings.ssh.identity_file == "/my/key"


def test_a_named_store_gets_what_its_own_section_leaves_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        '[[stores]]\nname = "a"\nurl = "s3://a"\n[stores.s3]\nstyle = "path"\n'
        '[[stores]]\nname = "b"\nurl = "s3://b"\n[stores.s3]\nprofile = "b"\n'
        '[[stores]]\nname = "c"\nurl = "/c"\n'
    )
    for name, value in {**AWS, **PLACE}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(str(file))
    assert settings.store is None  # it would be one more store of all commands
    keys = [None if store.s3 is None else (store.s3.access_key_id, store.s3.endpoint) for store in settings.stores]
    assert keys == [("id", "http://s3.test"), (None, "http://s3.test"), None]


def test_the_clone_s_env_is_read_from_anywhere_and_the_working_directory_s_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As cron and systemd start it; nothing of the kind belongs to an installed package."""
    package = tmp_path / "clone/src/fedi_safety/config"
    package.mkdir(parents=True)
    monkeypatch.setattr(loading, "__file__", str(package / "loading.py"))
    (tmp_path / "clone/.env").write_text("PICTRS_BUCKET=beside\nFEDI_SAFETY_POLICY=strict\n")
    assert load_settings().store is None
    (tmp_path / "clone/fedi-safety").touch()
    assert (load_settings().store, load_settings().policy) == ("s3://beside", "strict")
    Path(".env").write_text("PICTRS_BUCKET=here\n")
    assert (load_settings().store, load_settings().policy) == ("s3://here", "strict")
    monkeypatch.setenv("FEDI_SAFETY_POLICY", "cautious")
    assert load_settings().policy == "cautious"
    (tmp_path / "clone/.env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError, match=r"clone/\.env"):
        load_settings()


def test_postgresql_is_said_to_be_without_use() -> None:
    assert unused_database(DEPLOYED) is None
    assert unused_database({"USE_SQLITE": "1", "POSTGRES_URI": "postgresql://x"}) is None
    said = unused_database({"USE_SQLITE": "0", "POSTGRES_URI": "postgresql://u:secret@x"})
    assert said is not None and "secret" not in said and "POSTGRES_URI" in said
