"""A first configuration as text: what it says is what is loaded, whatever characters it has, and it is commented."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedi_safety.config.loading import load_settings
from fedi_safety.config.writing import FirstSettings, first_config, quoted

ALL = FirstSettings(
    "lemmy", "pictrs+http://127.0.0.1:8080", ("embedded", "clip"), "purge", "/srv/ledger.db",
    {"pictrs.api_key": "it's a \"key\" \\ with # all", "s3.access_key_id": "id", "s3.secret_access_key": "s\tp"},
)  # fmt: skip


def test_all_that_was_chosen_is_what_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(first_config(ALL))
    found = load_settings(str(file))
    assert (found.store, found.act, found.detectors, found.ledger) == (
        "pictrs+http://127.0.0.1:8080", "purge", ["embedded", "clip"], "/srv/ledger.db",
    )  # fmt: skip
    assert found.trace.server == "lemmy" and found.s3.access_key_id == "id"
    assert found.pictrs.api_key is not None and found.s3.secret_access_key is not None
    assert found.pictrs.api_key.get_secret_value() == ALL.secrets["pictrs.api_key"]
    assert found.s3.secret_access_key.get_secret_value() == "s\tp"


def test_every_key_that_is_switched_off_is_one_that_there_is(tmp_path: Path) -> None:
    """Taking a `#` away gives a setting, not a mistake; of one key at a time, as people do."""
    text = first_config(FirstSettings(None, "/srv", ("embedded",), "report", from_variables=("pictrs.api_key",)))
    lines = text.splitlines()
    keys = [number for number, line in enumerate(lines) if line.startswith("#") and " = " in line]
    assert len(keys) >= 9
    for number in keys:
        file = tmp_path / "config.toml"
        file.write_text("\n".join([*lines[:number], lines[number][1:], *lines[number + 1 :]]))
        load_settings(str(file))


def test_it_is_commented_and_no_line_is_wider_than_a_screen_of_code() -> None:
    lines = first_config(ALL).splitlines()
    assert all(len(line) <= 120 for line in lines)
    for number, line in enumerate(lines):
        if line.partition(" ")[0] in ("store", "act", "detectors", "server", "api_key"):
            assert any(before.startswith("# ") for before in lines[number - 2 : number]), line


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    assert tomllib.loads(f"key = {quoted(text)}") == {"key": text}
    assert "\n" not in quoted(text)


def test_what_is_not_utf8_is_refused_and_not_written_wrongly() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        quoted("/srv/\udce9")


def test_secrets_show_in_no_representation() -> None:
    assert "it's a" not in repr(ALL)
