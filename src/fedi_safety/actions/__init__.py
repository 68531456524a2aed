"""What can be done through the app of each kind of server, as a table, and opening one. No kind knows another.

A kind offers its actions in the order in which they are done: a report before the post that it names goes, the post
before the person.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from fedi_safety.config.schema import Trace
from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import ApiError, TraceUsageError
from fedi_safety.core.moderation import Offer, TargetKind, TokenAccount, Where
from fedi_safety.core.ports import Moderator
from fedi_safety.core.sightings import Sighting
from fedi_safety.core.wording.nearest import did_you_mean


@dataclass(frozen=True, slots=True)
class ModeratorKind:
    """One kind of server that can be acted on. `servers` are the words for `trace.server`.

    `open` takes what records name the server by, its address without a trailing slash, and a token. `account` takes
    address, token, the switched-on actions and seconds, and asks whose the token is. `by_hand` says what a person is to
    press where there is no call for it, None where there is nothing to press.
    """

    name: str
    servers: tuple[str, ...]
    offers: tuple[Offer, ...]
    open: Callable[[str, str, str], Moderator]
    account: Callable[[str, str, Sequence[str], float], TokenAccount]
    by_hand: Callable[[str, Sighting], str | None] = lambda _root, _sighting: None

    @property
    def actions(self) -> tuple[str, ...]:
        """The names of its actions, each once, in the order of doing."""
        return tuple(dict.fromkeys(offer.name for offer in self.offers))


def switched_on(access: Trace) -> tuple[Offer, ...]:
    """Return what is switched on of what the configured server offers, in the order of doing; nothing is reached for.

    Raises `TraceUsageError` for an action that there is not, with those that there are, or where a way is missing.
    """
    if not access.actions:
        return ()
    if access.server is None:
        raise TraceUsageError("trace.actions", "no server is named", "set `trace.server`")
    kind = kind_of(access.server)
    if kind is None:
        raise TraceUsageError("trace.actions", f"nothing can be done through {access.server} from here", "leave it out")
    for name in access.actions:
        if name not in kind.actions:
            known = f"{', '.join(kind.actions)}{did_you_mean(name, kind.actions)}"
            raise TraceUsageError(f"trace.actions: {name}", f"{kind.name} has no such action", f"use some of: {known}")
    if access.url is None or access.token is None:
        raise TraceUsageError("trace.actions", "they go through the server's API", "set `trace.url` and `trace.token`")
    return tuple(offer for offer in kind.offers if offer.name in access.actions)


def server_name(access: Trace, host: str) -> str:
    """Return what records name the configured server by: its kind, whatever word was used, and where it is."""
    kind = kind_of(access.server)
    return f"{access.server if kind is None else kind.name} at {host}"


def open_moderator(access: Trace, root: str, host: str) -> Moderator:
    """Return who acts on the configured server; nothing is reached for yet. Raises `TraceUsageError`."""
    kind = kind_of(access.server)
    if kind is None or access.token is None:
        raise TraceUsageError("trace.actions", "they go through the server's API", "set `trace.url` and `trace.token`")
    try:
        return kind.open(server_name(access, host), root, access.token.get_secret_value())
    except ApiError as error:
        raise TraceUsageError("trace.token", error.cause, error.remedy) from None


def kind_of(server: str | None) -> ModeratorKind | None:
    """Return the kind of a server by its word, None where nothing can be done through it."""
    return next((kind for kind in KINDS if server in kind.servers), None)


def by_hand(server: str | None, root: str | None, sightings: Sequence[Sighting]) -> list[str]:
    """Return what a person is to press about these sightings, with links, each once; `root` is the server's address."""
    kind = kind_of(server)
    if kind is None or root is None:
        return []
    said = (kind.by_hand(root, sighting) for sighting in sightings)
    return list(dict.fromkeys(line for line in said if line is not None))


def _open_lemmy(name: str, root: str, token: str) -> Moderator:
    from fedi_safety.actions.lemmy import LemmyModerator

    return LemmyModerator(name, root, token)


def _open_mastodon(name: str, root: str, token: str) -> Moderator:
    from fedi_safety.actions.mastodon import MastodonModerator

    return MastodonModerator(name, root, token)


def _open_misskey(name: str, root: str, token: str) -> Moderator:
    from fedi_safety.actions.misskey import MisskeyModerator

    return MisskeyModerator(name, root, token)


def _open_pixelfed(name: str, root: str, token: str) -> Moderator:
    from fedi_safety.actions.pixelfed import PixelfedModerator

    return PixelfedModerator(name, root, token)


def _account_of(module: str) -> Callable[[str, str, Sequence[str], float], TokenAccount]:
    """Return what asks whose a token is by a module of this package, which is imported when it does."""

    def account(root: str, token: str, actions: Sequence[str], within_s: float) -> TokenAccount:
        found: TokenAccount = import_module(f"{__name__}.{module}").token_account(root, token, actions, within_s)
        return found

    return account


def _mastodon_by_hand(root: str, sighting: Sighting) -> str | None:
    """No call deletes another account's post or medium; its page for moderators has a button."""
    if sighting.person_id is None:
        return None
    if sighting.post_id is None:
        return f"to take the medium away for good, choose under {root}/admin/accounts/{sighting.person_id}"
    page = f"{root}/admin/accounts/{sighting.person_id}/statuses/{sighting.post_id}"
    return f"Mastodon has no call that deletes a post of somebody else's: open {page}, and press Delete"


KINDS: tuple[ModeratorKind, ...] = (
    ModeratorKind(
        "lemmy",
        ("lemmy",),
        (
            Offer("delete_image", TargetKind.FILE, record="local_image"),
            Offer("report", TargetKind.POST),
            Offer("report", TargetKind.COMMENT),
            Offer("remove_comment", TargetKind.COMMENT),
            Offer("remove_post", TargetKind.POST),
            Offer("purge_post", TargetKind.POST),
            Offer("ban", TargetKind.PERSON),
        ),
        _open_lemmy,
        _account_of("lemmy"),
    ),
    ModeratorKind(
        "mastodon",
        ("mastodon", "glitch-soc"),
        (
            Offer("report", TargetKind.POST),
            Offer("report", TargetKind.ACCOUNT),
            Offer("sensitive", TargetKind.PERSON),
            Offer("silence", TargetKind.PERSON),
            Offer("suspend", TargetKind.PERSON),
            Offer("domain_block", TargetKind.INSTANCE, Where.REMOTE),
        ),
        _open_mastodon,
        _account_of("mastodon"),
        _mastodon_by_hand,
    ),
    ModeratorKind(
        "misskey",
        ("misskey", "sharkey"),
        (Offer("delete_file", TargetKind.FILE, record="drive_file"), Offer("suspend_user", TargetKind.PERSON)),
        _open_misskey,
        _account_of("misskey"),
    ),
    ModeratorKind(
        "pixelfed", ("pixelfed",), (Offer("moderate", TargetKind.POST),), _open_pixelfed, _account_of("pixelfed")
    ),
)
"""Every kind of server that can be acted on. A row here and a harness in tests/contract/test_moderator.py are what a
new one needs besides its own file."""
