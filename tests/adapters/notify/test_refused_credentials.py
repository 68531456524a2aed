"""Whoever's credentials are refused, the operator is told of it once, and once that they are accepted again.

One way for all: stores, pict-rs, a server's API for traces and actions, its database, lists of known images and those
that are subscribed to, NCMEC, and vaults.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from unittest import mock

import httpx
import psycopg
import pytest

from fedi_safety.app.notices.conditions import say_heard
from fedi_safety.app.sealing import opened_vault
from fedi_safety.clients import cybertipline, hma_database, json_api, lemmy, lemmy_moderation, list_server, pictrs
from fedi_safety.clients.lemmy import Version
from fedi_safety.clients.pictrs_database import PictrsDatabase
from fedi_safety.config.loading import load_settings
from fedi_safety.core.errors import FediSafetyError, StoreError
from fedi_safety.core.ledger.notices import Channel, NoticeState
from fedi_safety.core.notices.access import ACCESS
from fedi_safety.core.notices.transitions import Transition
from fedi_safety.stores.s3.faults import Kind, S3Fault
from fedi_safety.stores.vaults.local import LocalVault
from fedi_safety.stores.vaults.s3 import S3Vault
from fedi_safety.tracing.database import ServerDatabase
from support.ledgers import Opener
from support.servers.ncmec import PASSWORD, USER

CHANNEL = Channel("json://a.example", frozenset(Transition))
SECRET = "s3cr3t"
DONE = "<reportResponse><responseCode>0</responseCode><reportId>1</reportId></reportResponse>"
REFUSED = (
    "<reportResponse><responseCode>2000</responseCode><responseDescription>no</responseDescription></reportResponse>"
)
LEMMY = {"version": "0.19.5", "my_user": {"local_user_view": {}}, "images": []}
Use = Callable[[bool, Path], object]
"""Uses credentials that are accepted, or not."""


def answering(good: bool, body: object = None, status: int = 401) -> httpx.MockTransport:
    said = json.dumps({} if body is None else body).encode()
    code = 200 if good else status
    return httpx.MockTransport(lambda _request: httpx.Response(code, stream=httpx.ByteStream(said)))


def api(good: bool, _folder: Path) -> object:
    with_token = json_api.JsonApi("https://m.example", "Mastodon", SECRET, transport=answering(good))
    return with_token.ask("GET", "/api/v1/admin/accounts", within_s=5)


def lemmy_admin(good: bool, _folder: Path) -> object:
    error = httpx.MockTransport(lambda _request: httpx.Response(400, json={"error": "not_an_admin"}))
    client = lemmy.LemmyClient("https://l.example", SECRET, transport=answering(True, LEMMY) if good else error)
    return client.media_page(Version.V0_19, None, within_s=5)


def lemmy_moderator(good: bool, _folder: Path) -> object:
    client = lemmy_moderation.LemmyModeration("https://l.example", SECRET)
    # Lemmy answers everybody, and leaves out the account of a token that it does not know.
    site = LEMMY if good else {key: value for key, value in LEMMY.items() if key != "my_user"}
    client._api._http = httpx.Client(base_url="https://l.example", transport=answering(True, site))
    return client.version(5)


def lists(good: bool, folder: Path) -> object:
    with list_server.ListServer("hotline", transport=answering(good, status=403)) as server:
        return server.ask("https://h.example/list", folder / "answer", secret={"Authorization": SECRET})


def publisher(good: bool, folder: Path) -> object:
    with list_server.ListServer("p", transport=answering(good), said="publisher p") as server:
        return server.ask("https://p.example/list", folder / "answer", secret={"Authorization": SECRET})


def ncmec(good: bool, _folder: Path, status: int = 401) -> object:
    text = DONE if good else REFUSED
    answer = httpx.Response(200 if good or status == 200 else status, text=text if good or status == 200 else "")
    transport = httpx.MockTransport(lambda _request: answer)
    return cybertipline.Cybertipline("https://n.example", USER, PASSWORD, transport=transport).submit(b"<report/>")


def picture_server(good: bool, _folder: Path) -> object:
    client = pictrs.PictrsClient("http://p.example:8080", SECRET, transport=answering(good, {"msg": "ok"}), pause_s=0)
    return client._internal("GET", "/internal/hashes", {})


@contextmanager
def postgresql(good: bool) -> Iterator[None]:
    error = psycopg.OperationalError('password authentication failed for user "fedi_safety"')
    connect = mock.Mock(side_effect=None if good else error)
    connect.return_value.execute.return_value.fetchall.return_value = []
    with mock.patch("psycopg.connect", connect):
        yield


def trace_database(good: bool, _folder: Path) -> object:
    database = ServerDatabase("postgresql://a:s3cr3t@db.example/m", "Mastodon")
    with postgresql(good), suppress(TypeError), database.session(5):  # the double has no socket
        return None
    return None


def pictrs_database(good: bool, _folder: Path) -> object:
    with postgresql(good), suppress(TypeError):
        PictrsDatabase("postgresql://a:s3cr3t@db.example/p").origins(["a"])
    return None


def bank_database(good: bool, _folder: Path) -> object:
    with postgresql(good), suppress(TypeError):
        list(hma_database.HmaDatabase("postgresql://a:s3cr3t@db.example/h", "bank").signals(0))
    return None


def vault(good: bool, folder: Path) -> object:
    """A vault that lets in, and lets nobody write."""
    settings = load_settings(os.devnull, seal={"vault": str(folder)})
    refuses = StoreError("vault", "AccessDenied").as_refused()
    with (
        closing(opened_vault(settings)) as made,
        mock.patch.object(LocalVault, "put", side_effect=None if good else refuses),
    ):
        made.put("a", (b"",))
    return None


USES: dict[str, tuple[Use, str]] = {
    "api": (api, "API of Mastodon at m.example"),
    "lemmy admin": (lemmy_admin, "API of Lemmy at l.example"),
    "lemmy moderator": (lemmy_moderator, "API of Lemmy at l.example"),
    "lists": (lists, "source hotline"),
    "publisher": (publisher, "publisher p"),
    "ncmec": (ncmec, "NCMEC's CyberTipline"),
    "ncmec by its code": (partial(ncmec, status=200), "NCMEC's CyberTipline"),
    "pict-rs": (picture_server, "pict-rs at http://p.example:8080"),
    "database": (trace_database, "database of Mastodon"),
    "pict-rs' database": (pictrs_database, "database of pict-rs"),
    "bank": (bank_database, "source bank"),
    "vault": (vault, "vault"),
}


@pytest.mark.parametrize("name", USES)
def test_refused_credentials_are_told_once_and_that_they_are_accepted_again(
    name: str, opener: Opener, tmp_path: Path
) -> None:
    use, about = USES[name]
    folder = tmp_path / "here"
    folder.mkdir()
    for good in (True, False, False, True, True):
        ledger = opener(channels=(CHANNEL,))  # a restart each time
        if good:
            use(good, folder)
        else:
            with pytest.raises(FediSafetyError):
                use(good, folder)
        say_heard(ledger)
    told = ledger.notices(tuple(NoticeState), 9)
    assert [notice.transition for notice in told] == [Transition.CREDENTIALS_REFUSED, Transition.WELL_AGAIN]
    assert {notice.about for notice in told} == {about if about != "vault" else f"vault file://{folder}"}
    assert SECRET not in str(told)


def test_without_a_token_none_is_refused() -> None:
    with suppress(FediSafetyError):
        json_api.JsonApi("https://m.example", "Mastodon", transport=answering(False)).ask("GET", "/", within_s=5)
    assert ACCESS.take() == {}


def test_what_cannot_be_written_down_is_said_again(opener: Opener) -> None:
    with suppress(FediSafetyError):
        api(False, Path())
    ledger = opener(channels=(CHANNEL,))
    with mock.patch.object(type(ledger), "set_condition", side_effect=StoreError("ledger", "it is locked")):
        say_heard(ledger)
    say_heard(ledger)
    assert [notice.transition for notice in ledger.notices(tuple(NoticeState), 9)] == [Transition.CREDENTIALS_REFUSED]


def test_a_bucket_that_lets_nobody_write_refuses_its_credentials() -> None:
    broken = mock.Mock(url="s3://b")
    assert S3Vault._failed(broken, S3Fault(Kind.DENIED, "AccessDenied")).refused
    assert not S3Vault._failed(broken, S3Fault(Kind.AGAIN, "SlowDown")).refused
