"""The table of kinds of stores: what is told by a URL alone, and that a row is all that the rest needs to know."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedi_safety import stores
from fedi_safety.app.acts import act_for
from fedi_safety.app.stores import named_store, spoken_name, store_url, targets
from fedi_safety.config.schema import NamedStore, Settings
from fedi_safety.core.enums import ActKind
from fedi_safety.core.errors import StoreUsageError
from fedi_safety.stores import StoreKind, access_sections, kind_of, local_root
from support.fakes import FakeStore


class Drawer(FakeStore):
    """A fake store with the URL and the access that it was opened with."""

    def __init__(self, url: str, settings: Settings) -> None:
        super().__init__()
        self.url = url
        self.access = settings.ssh


@pytest.fixture
def drawers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more kind, as a row."""
    kind = StoreKind(
        "drawer", ("drawer",), Drawer, lambda url, _settings: url.lower(), "ssh", default_act=ActKind.PURGE
    )
    monkeypatch.setattr(stores, "KINDS", (*stores.KINDS, kind))


def settings(**more: object) -> Settings:
    named = {"name": "mine", "url": "drawer://TOP", "ssh": {"connections": 7}}
    return Settings.model_validate({"stores": [named], "ssh": {"connections": 3}, **more})


@pytest.mark.usefixtures("drawers")
def test_a_row_makes_a_kind_that_opens_by_name_with_its_own_access() -> None:
    by_name, by_url = named_store(settings(), "mine"), named_store(settings(), "drawer://top")
    assert isinstance(by_name, Drawer) and isinstance(by_url, Drawer)
    assert (by_name.url, by_name.access.connections) == ("drawer://TOP", 7)
    assert by_url.access.connections == 3
    assert store_url(settings(), "mine") == "drawer://top"
    (target,) = targets(settings(), "mine")
    assert act_for(settings(), target) is ActKind.PURGE
    assert target.local_root is None


@pytest.mark.usefixtures("drawers")
def test_an_unknown_scheme_is_told_with_every_kind_there_is() -> None:
    with pytest.raises(StoreUsageError) as caught:
        named_store(settings(), "ftp://host/x")
    assert caught.value.line() == (
        "ftp://host/x: there are no ftp:// stores; "
        "give a path or one of: file, sftp, s3, pictrs+http, pictrs+https, drawer:// (did you mean sftp?)"
    )


def test_every_kind_s_section_is_in_the_settings_and_in_a_named_store() -> None:
    assert set(access_sections()) == NamedStore.model_fields.keys() - {"name", "url", "trace"}
    for section in access_sections():
        own = NamedStore.model_fields[section].annotation
        assert own == Settings.model_fields[section].annotation | None  # type: ignore[operator]


@pytest.mark.parametrize(
    ("place", "name", "act", "root"),
    [
        ("some/media", "local", ActKind.DELETE, Path("some/media")),
        ("file:///srv/a%20b%C3%A9", "local", ActKind.DELETE, Path("/srv/a bé")),
        ("s3://bucket/x", "s3", ActKind.DELETE, None),
        ("sftp://host/x", "sftp", ActKind.DELETE, None),
        ("pictrs+http://host", "pictrs", ActKind.PURGE, None),
        ("pictrs+https://host", "pictrs", ActKind.PURGE, None),
    ],
)
def test_what_a_url_tells(place: str, name: str, act: ActKind, root: Path | None) -> None:
    kind = kind_of(place)
    assert (kind.name, kind.default_act) == (name, act)
    assert kind.local_root(place) == local_root(place) == root


def test_what_no_kind_knows_is_no_local_directory() -> None:
    assert local_root("ftp://host/x") is None


def test_a_person_says_a_path_where_it_says_the_same() -> None:
    store = FakeStore()
    assert spoken_name(store) == store.url
    store.local_root = Path("/srv/my media")
    assert spoken_name(store) == "/srv/my media"
    for odd in ("/srv/a\nb", "/srv/\udcff"):
        store.local_root = Path(odd)
        assert spoken_name(store) == store.url
