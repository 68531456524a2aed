"""Sends what waits: a thread for each channel in what runs long, and a bounded time at the end of what does not.

However many processes use a ledger, a channel's notices are sent by one of them at a time (`NoticeLedger`).
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from fedi_safety.app.notices.channels import Line
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ledger.notices import Notice, NoticeLedger, Sent
from fedi_safety.core.notices.text import Told, as_json, words
from fedi_safety.notify import Sender

log = logging.getLogger(__name__)

_LOOK_S = 5.0  # so often it is looked whether another process wrote something to tell
_TEND_S = 3600.0
_END_S = 1.0  # how long the end of a service waits for its senders


class ChannelSender:
    """Sends to one channel, one notice after another. Used by one thread."""

    def __init__(self, ledger: NoticeLedger, line: Line, name: str | None) -> None:
        """Take a channel; the way to it is opened with the first notice."""
        self._ledger = ledger
        self._line = line
        self._name = name
        self._holder = secrets.token_hex(8)
        self._sender: Sender | None = None

    @property
    def channel(self) -> str:
        """The channel's name."""
        return self._line.channel.name

    def step(self, *, at_once: bool = False) -> bool:
        """Send one notice, if there is one to send now; return whether there was."""
        notice = self._ledger.take_notice(self.channel, self._holder, at_once=at_once)
        if notice is None:
            return False
        sent = self._send(notice)
        if not sent.ok:
            log.warning("%s: notice %d was not sent: %s", self.channel, notice.id, sent.error)
        self._ledger.close_notice(notice, self._holder, sent)
        return True

    def rest_s(self, now: float) -> float | None:
        """Return in how many seconds something may be sent; None where nothing waits."""
        due = self._ledger.next_notice(self.channel)
        return None if due is None else max(0.0, due - now)

    def close(self) -> None:
        """Leave the channel to others."""
        with suppress(FediSafetyError):
            self._ledger.let_go(self.channel, self._holder)

    def _send(self, notice: Notice) -> Sent:
        told = Told(notice.transition, notice.about, notice.count, notice.rules, notice.detail)
        again = notice.lost > 0
        said = words(told, number=notice.id, again=again, name=self._name)
        facts = as_json(told, said, number=notice.id, again=again, name=self._name, at=notice.created_at)
        try:
            if self._sender is None:
                self._sender = self._line.open()
            return self._sender.send(said, facts)
        except FediSafetyError as error:
            return Sent(False, error.line())
        except Exception as error:  # a bug in a service's plugin must not end the telling; its text may be secret
            log.debug("internal error while sending", exc_info=error)
            return Sent(False, f"internal error: {type(error).__name__}", lost=True)


class Senders:
    """The threads of what runs long: `watch` and `serve`."""

    def __init__(
        self, ledger: NoticeLedger, lines: Sequence[Line], name: str | None, *, look_s: float = _LOOK_S
    ) -> None:
        """Prepare a thread for each channel, which looks at least so often whether there is something to send."""
        self._ledger = ledger
        self._look_s = look_s
        self._stop = threading.Event()
        self._names = [line.channel.name for line in lines]
        self._threads = [
            threading.Thread(target=self._run, args=[ChannelSender(ledger, line, name)], name="notify", daemon=True)
            for line in lines
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing more. What is being sent may end; what hangs is left, and sent by the next process."""
        self._stop.set()
        until = time.monotonic() + _END_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, sender: ChannelSender) -> None:
        tended = 0.0
        while not self._stop.is_set():
            rest = self._look_s
            try:
                if time.monotonic() >= tended:
                    self._ledger.tend_notices(self._names)
                    tended = time.monotonic() + _TEND_S
                due = sender.rest_s(time.time())
                if due is not None and due <= 0 and sender.step():
                    continue
                if due is not None and due > 0:
                    rest = min(self._look_s, due)
            except FediSafetyError as error:
                log.warning("notices to %s: %s", sender.channel, error.line())
            self._stop.wait(rest)
        sender.close()


def send_rest(
    ledger: NoticeLedger,
    lines: Sequence[Line],
    name: str | None,
    within_s: float,
    *,
    grace_s: float = 35.0,
    say: Callable[[str], None] = lambda _text: None,
) -> int:
    """Send what waits, what is still gathered included; return how many notices were left to the next process.

    Nothing is begun after `within_s` seconds; what is being sent then has `grace_s` to end.
    """
    waiting = [line for line in lines if ledger.next_notice(line.channel.name) is not None]
    if not waiting:
        return 0
    until = time.monotonic() + within_s
    threads = [
        threading.Thread(target=_send_all, args=[ChannelSender(ledger, line, name), until], name="notify", daemon=True)
        for line in waiting
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive() and time.monotonic() < until + grace_s:
            thread.join(0.2)  # so that a signal is heard
    ledger.tend_notices([line.channel.name for line in lines])
    left = sum(figures.waiting for figures in ledger.notice_figures())
    if left:
        say(f"notices that wait to be sent: {left}")
    return left


def _send_all(sender: ChannelSender, until: float) -> None:
    try:
        while time.monotonic() < until and sender.step(at_once=True):
            pass
    except FediSafetyError as error:
        log.warning("notices to %s: %s", sender.channel, error.line())
    finally:
        sender.close()


@contextmanager
def sending(
    ledger: NoticeLedger, lines: Sequence[Line], name: str | None, *, look_s: float = _LOOK_S
) -> Iterator[None]:
    """Send while the block runs."""
    senders = Senders(ledger, lines, name, look_s=look_s)
    senders.start()
    try:
        yield
    finally:
        senders.stop()
