"""The token by which a server is asked and acted upon, tried on loopback: whose it is, and what it lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.actions import KINDS, kind_of, mastodon, misskey
from fedi_safety.app.token_account import TokenCheck, check_token
from fedi_safety.cli import doctor_cmd
from fedi_safety.config.schema import Trace
from fedi_safety.core.errors import ApiError, ExitCode, TraceUsageError
from support.servers import moderated as servers
from support.servers.moderated import TOKEN, Moderated, moderated

MODERATOR = {"role": {"permissions": str(1 << 10 | 1 << 4)}}  # manage_users and manage_reports


def checked(server: Moderated, kind: str, *actions: str, token: str = TOKEN) -> TokenCheck:
    found = check_token(Trace(server=kind, url=server.url, token=token, actions=actions, limit_s=5))
    assert found is not None
    assert TOKEN not in found.detail
    assert server.writes == [], "asking whose a token is changes nothing"
    return found


@pytest.mark.parametrize("version", ["lemmy19", "lemmy10"])
def test_lemmy_says_whose_it_is_and_whether_an_admins(version: str) -> None:
    with moderated(getattr(servers, version)) as server:
        found = checked(server, "lemmy", "report", "ban")
        assert found.ok is True
        assert "takes it as https://lemmy.example/u/mod's" in found.detail and "report, ban" in found.detail
        server.account = {"admin": False}
        found = checked(server, "lemmy")
        assert found.ok is False and "it lacks the role of an admin: give the account that role" in found.detail
        server.account = {"admin": None}
        assert "the server does not tell" in checked(server, "lemmy").detail


def test_mastodon_says_whose_it_is_and_its_scopes_and_role_are_held_to_the_actions() -> None:
    with moderated(servers.mastodon) as server:
        server.account, server.scopes = MODERATOR, ["read", "write:reports", "admin:read", "admin:write:accounts"]
        found = checked(server, "mastodon", "report", "suspend")
        assert (found.ok, "takes it as @mod's" in found.detail) == (True, True), found
        found = checked(server, "mastodon", "report", "domain_block")
        assert found.ok is False
        assert "lacks scope admin:write:domain_blocks, permission manage_federation of its role" in found.detail
        server.account = {"role": {"permissions": "1"}}
        assert "lacks scope admin:write:domain_blocks: " in checked(server, "mastodon", "domain_block").detail
        server.scopes = None
        found = checked(server, "mastodon", "domain_block")
        assert found.ok is True and "scope admin:read:domain_blocks" in found.detail and "does not tell" in found.detail
        server.scopes = ["write", "read"]
        assert "for tracing by its API it lacks scope admin:read:accounts" in checked(server, "mastodon").detail


def test_a_token_that_may_not_ask_whose_it_is_is_not_refused_for_that() -> None:
    """One with the scopes of the actions alone is told 403 by Mastodon where it asks for its own account."""
    with moderated(servers.mastodon) as server:
        server.answer = lambda _asked: (403, {"error": "outside the authorized scopes"})
        found = checked(server, "mastodon", "report")
        assert found.ok is None and "takes it, and does not say whose it is" in found.detail
    with moderated(servers.misskey) as server:
        server.answer = lambda _asked: (403, {"error": {"code": "PERMISSION_DENIED"}})
        assert checked(server, "misskey").ok is None


def test_misskey_and_pixelfed_say_whose_it_is() -> None:
    with moderated(servers.misskey) as server:
        found = checked(server, "sharkey", "suspend_user")
        assert found.ok is True and "takes it as @mod's" in found.detail
        assert "permission write:admin:suspend-user" in found.detail and "does not tell" in found.detail
        server.account = {"isModerator": False}
        assert checked(server, "misskey").ok is False
    with moderated(servers.pixelfed) as server:
        assert "takes it as @mod's" in checked(server, "pixelfed", "moderate").detail
        server.account = {"is_admin": False}
        assert checked(server, "pixelfed", "moderate").ok is False


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("kind", "version"),
    [("lemmy", "lemmy19"), ("lemmy", "lemmy10"), *((k, k) for k in ("mastodon", "misskey", "pixelfed"))],
)
def test_a_refused_token_and_a_server_that_is_not_there_are_told_apart(kind: str, version: str) -> None:
    with moderated(getattr(servers, version)) as server:
        with pytest.raises(TraceUsageError) as caught:
            checked(server, kind, token="another")
        assert "does not accept it; make a new one" in caught.value.line()
        server.answer = lambda _asked: (503, None)
        with pytest.raises(ApiError):
            checked(server, kind)


def test_nothing_is_asked_without_a_token_or_where_nothing_takes_one() -> None:
    assert check_token(Trace(server="lemmy", url="http://127.0.0.1:9")) is None
    assert check_token(Trace(server="pleroma", url="http://127.0.0.1:9", token=TOKEN)) is None


def test_every_action_has_its_needs_written_down() -> None:
    for kind, needs in (("mastodon", mastodon._NEEDS), ("misskey", misskey._NEEDS)):
        found = kind_of(kind)
        assert found is not None and set(needs) == set(found.actions)
    assert all(callable(kind.account) for kind in KINDS)


def test_doctor_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for slow in ("_detectors", "_decoder"):
        monkeypatch.setattr(doctor_cmd, slow, lambda *_: iter(()))

    def doctor(server: Moderated, token: str) -> tuple[int, list[dict[str, Any]]]:
        file = tmp_path / "config.toml"
        trace = f"server = 'lemmy'\nurl = '{server.url}'\ntoken = '{token}'\nactions = ['report']\n"
        file.write_text(f"ledger = '{tmp_path}/ledger.db'\n[trace]\n{trace}")
        capsys.readouterr()
        code = doctor_cmd.doctor(json_output=True, config=str(file))
        said = json.loads(capsys.readouterr().out)["findings"]
        return code, [f for f in said if "token" in f["detail"]]

    with moderated(servers.lemmy19) as server:
        code, (found,) = doctor(server, TOKEN)
        assert (code, found["thing"], found["ok"]) == (0, "trace", True)
        code, (found,) = doctor(server, "another")
        assert (code, found["ok"]) == (ExitCode.USAGE, False)
        assert "does not accept it; make a new one" in found["detail"]
        server.account = {"admin": False}
        code, (found,) = doctor(server, TOKEN)
        assert (code, found["ok"]) == (ExitCode.USAGE, False)
