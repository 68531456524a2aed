"""Who is told, as configured: the channels that a ledger writes notices for, and what sends to each of them."""

from __future__ import annotations

from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING

from fedi_safety.config.schema import Settings
from fedi_safety.core.classes import dataclass
from fedi_safety.core.ledger.notices import Channel
from fedi_safety.core.notices.transitions import Transition
from fedi_safety.notify.addresses import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedi_safety.notify import Sender


@dataclass(frozen=True, slots=True)
class Line:
    """A channel, and what opens the way to it. Opening raises `ConfigError` for an address that cannot be one."""

    channel: Channel
    open: Callable[[], Sender] = field(repr=False)


def lines(settings: Settings) -> list[Line]:
    """Return who is told: each address, and each program. Nothing is loaded and nobody asked."""
    notify, hooks = settings.notify, settings.hooks
    wanted = frozenset(map(Transition, notify.on))
    gathered_s = 60.0 * notify.digest_minutes
    urls = [url.get_secret_value() for url in notify.urls]
    found = [
        Line(Channel(name, wanted, gathered_s), partial(_url, url, f"notify.urls ({number})"))
        for number, (name, url) in enumerate(zip(names(urls), urls, strict=True), start=1)
    ]
    for transition in Transition:
        if command := hooks.command(transition):
            channel = Channel(f"hooks.on_{transition.value}", frozenset([transition]), gathered_s)
            found.append(Line(channel, partial(_hook, command, hooks.limit_s)))
    return found


def channels(settings: Settings) -> list[Channel]:
    """Return the channels alone."""
    return [line.channel for line in lines(settings)]


def checked(settings: Settings) -> list[Line]:
    """Return the same with every address looked at, which loads apprise where there is one. Raises `ConfigError`."""
    found = lines(settings)
    for line in found:
        line.open()
    return found


def _url(url: str, setting: str) -> Sender:
    from fedi_safety.notify.urls import UrlSender

    return UrlSender(url, setting)


def _hook(command: tuple[str, ...], limit_s: float) -> Sender:
    from fedi_safety.notify.hooks import HookSender

    return HookSender(command, limit_s)
