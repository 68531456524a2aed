"""The old programs' variables: what they set here, and that a slip in them is said."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

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


def test_postgresql_is_said_to_be_without_use() -> None:
    assert unused_database(DEPLOYED) is None
    assert unused_database({"USE_SQLITE": "1", "POSTGRES_URI": "postgresql://x"}) is None
    said = unused_database({"USE_SQLITE": "0", "POSTGRES_URI": "postgresql://u:secret@x"})
    assert said is not None and "secret" not in said and "POSTGRES_URI" in said
