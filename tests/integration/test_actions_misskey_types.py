"""What is sent to act on a Misskey, held to Misskey's own types by the compiler; and that the permissions exist."""

from __future__ import annotations

import pytest

from fedi_safety.actions import kind_of, open_moderator
from fedi_safety.clients.misskey_moderation import PERMISSIONS
from fedi_safety.config.schema import Trace
from fedi_safety.core.moderation import ActionState, AppAction, Standing, TargetKind
from support.servers.misskey_types import Exchange, problems
from support.servers.moderated import TOKEN, misskey, moderated

REFUSED = {"error": {"code": "NO_SUCH_FILE", "message": "No such file.", "id": "x"}}


@pytest.mark.needs("misskey-js")
def test_every_request_is_of_its_type_and_every_permission_exists() -> None:
    kind = kind_of("misskey")
    assert kind is not None
    with moderated(misskey) as server:
        server.files, server.people = {"f1"}, {"u1": {"suspended": False}}
        access = Trace(server="misskey", url=server.url, token=TOKEN, actions=kind.actions)
        moderator = open_moderator(access, server.url, "misskey.example")
        for offer in kind.offers:
            target = "f1" if offer.target is TargetKind.FILE else "u1"
            action = AppAction(
                1, bytes(32), "s", "n", offer.name, offer.target, target, None, None, ActionState.STARTED
            )
            assert moderator.standing(action, within_s=5) is Standing.OPEN
            moderator.perform(action, within_s=5)
            assert moderator.standing(action, within_s=5) is not Standing.OPEN
        moderator.close()
        sent = [Exchange(one.path.removeprefix("/api/"), one.body, REFUSED, failed=True) for one in server.asked]
    assert {one.endpoint for one in sent} == {
        "admin/drive/show-file", "drive/files/delete", "admin/show-user", "admin/suspend-user",
    }  # fmt: skip
    assert problems(sent, PERMISSIONS) == []
    wrong = Exchange("admin/suspend-user", {"user": "u1"}, REFUSED, failed=True)
    assert len(problems([wrong], ["write:admin:everything"])) == 2, "the compiler does look"
