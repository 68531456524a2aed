"""Messages arrive by webhook, ntfy, Matrix and mail; what does not arrive is said without a secret."""

from __future__ import annotations

import io
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from fedi_safety.core.errors import ConfigError
from fedi_safety.core.ledger.notices import Sent
from fedi_safety.core.notices.text import Told, words
from fedi_safety.core.notices.transitions import Transition
from fedi_safety.notify import urls
from fedi_safety.notify.urls import UrlSender
from support.receivers import Answer, Receiver, receiver

SAID = words(Told(Transition.CONDEMNED, "file:///srv/media", 3, {"known image": 3}), number=7)


@pytest.fixture
def other() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def send(url: str) -> Sent:
    return UrlSender(url, "notify.urls (1)").send(SAID, {})


@pytest.mark.parametrize("kind", ["webhook", "ntfy", "matrix"])
def test_a_message_arrives_and_is_answered(other: Receiver, kind: str) -> None:
    assert send(getattr(other, kind)) == Sent(True)
    (message,) = other.taken
    assert "3 contents condemned" in str(message)
    assert "fedi-safety list file:///srv/media --verdict block" in other.text(message)
    assert other.numbers() == [7]
    assert "http" not in str(message), "no link, and no picture of apprise's"


class _Inbox:
    """What `aiosmtpd` gives its mail to."""

    def __init__(self) -> None:
        self.mails: list[str] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(envelope.content.decode("utf-8"))
        return "250 taken"


def test_a_mail_arrives() -> None:
    inbox = _Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=0)
    # `port=0` is not told to its own trial connection: the port is chosen here.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        controller.port = free.getsockname()[1]
    controller.start()
    try:
        url = f"mailto://127.0.0.1:{controller.port}?from=fedi-safety@mail.example&to=admin@mail.example"
        assert send(url) == Sent(True)
    finally:
        controller.stop()
    (mail,) = inbox.mails
    assert "Subject: fedi-safety: 3 contents condemned" in mail and "file:///srv/media" in mail


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        ("fail", Sent(False, "it answered 500")),
        ("redirect", Sent(False, "it answered 307")),
        ("proxy", Sent(False, "it answered 504", lost=True)),
        ("lose", Sent(False, "the connection broke off before the answer", lost=True)),
    ],
)
def test_what_does_not_arrive_is_said(other: Receiver, answer: Answer, sent: Sent) -> None:
    other.answers = lambda: answer
    assert send(other.webhook) == sent
    assert not any("elsewhere" in asked for asked in other.asked), "a redirect is another place"


def test_an_answer_that_does_not_come_is_waited_for_so_long_and_no_longer(
    other: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urls, "LIMIT_S", 0.5)
    other.answers = lambda: "hang"
    assert send(other.webhook) == Sent(False, "no answer within 0.5 s", lost=True)


@pytest.mark.parametrize(
    "place", ["json://127.0.0.1:1/x", "ntfy://127.0.0.1:1/x", "mailto://127.0.0.1:1?from=a@b.example"]
)
def test_nobody_there_is_said(place: str) -> None:
    assert send(place) == Sent(False, "the connection is refused")


@pytest.mark.parametrize("kind", ["webhook", "ntfy", "matrix"])
def test_what_got_no_answer_was_sent_once_and_is_said_to_be_unsure(other: Receiver, kind: str) -> None:
    """Whoever counts how often it may have arrived is not to be cheated: an address cannot ask for more tries."""
    other.answers = lambda: "lose"
    sent = send(f"{getattr(other, kind)}?retry=3&wait=0")
    assert sent.lost and not sent.ok
    assert len(other.taken) == 1


def test_one_of_several_addressees_that_does_not_accept_it_is_no_reason_to_tell_the_others_for_a_day(
    other: Receiver,
) -> None:
    answers: Iterator[Answer] = iter(["accept", "fail"])
    other.answers = lambda: next(answers)
    sent = send(f"{other.ntfy}/another-s3cr3t-topic")
    assert sent == Sent(False, "not all that the address names accepted it: it answered 500", lost=True)


@pytest.mark.parametrize(
    ("logged", "sent"),
    [
        ([("DEBUG", "Socket Exception: {'a@b': (550, b'no such user')}")], Sent(False, "it answered 550")),
        (
            [("DEBUG", "Socket Exception: [Errno 101] Network is unreachable")],
            Sent(False, "there is no way to the host"),
        ),
        ([("DEBUG", "Socket Exception: [SSL] what nobody knows")], Sent(False, "the connection failed", lost=True)),
        ([("ERROR", "Unhandled Notification Exception")], Sent(False, "the connection failed", lost=True)),
        ([("WARNING", "it said ok=false")], Sent(False, "it did not accept it")),
        (
            [("WARNING", "failed: error=500"), ("DEBUG", "Socket Exception: read timed out")],
            Sent(False, "it answered 500", lost=True),
        ),
        ([("DEBUG", "read timed out is what the message says")], Sent(False, "it did not accept it")),
    ],
)
def test_what_nobody_knows_of_a_connection_counts_as_lost(logged: list[tuple[str, str]], sent: Sent) -> None:
    assert urls._failure(logged) == sent


@pytest.mark.sampled(4)
@pytest.mark.parametrize("answer", ["accept", "fail", "lose", "redirect"])
@pytest.mark.parametrize("kind", ["webhook", "ntfy", "matrix"])
def test_no_secret_is_logged_or_said(other: Receiver, kind: str, answer: Answer) -> None:
    other.answers = lambda: answer
    written = io.StringIO()
    handler = logging.StreamHandler(written)  # as the program's own, on the root
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        logging.getLogger("fedi_safety").debug("that it is heard")
        sent = send(getattr(other, kind))
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
    assert "that it is heard" in written.getvalue()
    assert "s3cr3t" not in sent.error + written.getvalue()


@pytest.mark.parametrize(
    "url", ["foo://s3cr3t@host.example/x", "mailto://", "discord://s3cr3t", "json:///", "https://host.example/s3cr3t"]
)
def test_an_address_that_cannot_be_one_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        UrlSender(url, "notify.urls (2)")
    line = raised.value.line()
    assert line.startswith("notify.urls (2): ") and "apprise" in line and "\n" not in line
    assert "s3cr3t" not in line


def test_nothing_is_loaded_or_kept_beyond_what_an_address_names(other: Receiver) -> None:
    sender = UrlSender(other.webhook, "x")
    asset = sender._apprise.asset
    assert asset.plugin_paths == [] and asset.storage_path is None and not asset.http_redirects
    assert not asset.pgp_autogen and not asset.pem_autogen and not asset.allow_templates
    (service,) = sender._apprise
    assert not service.redirects


def test_an_address_cannot_ask_for_redirects(other: Receiver) -> None:
    other.answers = lambda: "redirect"
    assert not send(f"{other.webhook}?redirect=yes").ok
    assert not any("elsewhere" in asked for asked in other.asked)
