"""Messages through apprise, which knows how a hundred services are spoken to. It is loaded when it is needed.

It reaches the one place that the address names: it follows no redirect, loads no plugin, attachment or configuration
from elsewhere, keeps nothing on the disk, and puts no picture of its own into a message.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedi_safety.core.errors import ConfigError
from fedi_safety.core.ledger.notices import Sent
from fedi_safety.core.notices.text import Words
from fedi_safety.notify.addresses import shown

if TYPE_CHECKING:
    from apprise import Apprise

LIMIT_S = 30.0
_STATUS = re.compile(r"\berror[=:]\s*(\d{3})\b", re.IGNORECASE)
_LIBRARIES = ("apprise", "requests", "requests_oauthlib", "urllib3")  # what they log has addresses with secrets in it
_EXCEPTION = re.compile(r"[A-Za-z/ ]{0,40}Exception: ")
_SMTP_STATUS = re.compile(r"\((\d{3}), b['\"]")  # as smtplib shows what a mail server answered
_PARTLY = re.compile(r"\b(Sent|Delivered)\b", re.IGNORECASE)  # plugins log it at INFO for each addressee that took it
_BROKEN = ("connection error", "unhandled")
_UNKNOWN = ("the connection failed", True)
_NO_ANSWER_BEHIND = "504"  # a proxy says so; what is behind it may have taken the message
# Of what apprise logs these words alone are told on, for the rest may be secret; with whether it may have arrived.
_CAUSES: tuple[tuple[str, str, bool], ...] = (
    ("refused", "the connection is refused", False),
    ("unreachable", "there is no way to the host", False),
    ("no route to host", "there is no way to the host", False),
    ("resolve", "there is no such host", False),
    ("name or service not known", "there is no such host", False),
    ("wrong version number", "it does not speak TLS there", False),
    ("certificate", "its TLS certificate is not trusted", False),
    ("authentic", "it does not accept the login", False),
    ("connect timeout", "no connection in time", False),
    ("connecttimeout", "no connection in time", False),
    ("read timed out", "the answer did not come in time", True),
    ("aborted", "the connection broke off before the answer", True),
    ("reset by peer", "the connection broke off before the answer", True),
    ("unexpectedly closed", "the connection broke off before the answer", True),
)
_loading = threading.Lock()


class UrlSender:
    """One address."""

    def __init__(self, url: str, setting: str) -> None:
        """Take the address; nothing is asked. Raises `ConfigError` for one that apprise does not know.

        `setting` is what an error calls it.
        """
        self._name = shown(url)
        self._apprise = _opened(url, setting)

    def send(self, said: Words, facts: Mapping[str, Any]) -> Sent:  # noqa: ARG002
        """Send a message, to all that the address names."""
        from apprise import AppriseResultStatus, NotifyFormat

        logged: list[tuple[str, str]] = []
        result = self._apprise.notify(
            title=said.title,
            body=said.text,
            body_format=NotifyFormat.TEXT,
            interpret_escapes=False,
            timeout=LIMIT_S,
            log_callback=lambda entry, _service: logged.append((entry.level, entry.message)),
            log_level=logging.DEBUG,
        )
        if result.status == AppriseResultStatus.SUCCESS:
            return Sent(True)
        if result.status == AppriseResultStatus.TIMEOUT:
            return Sent(False, f"no answer within {LIMIT_S:g} s", lost=True)
        return _failure(logged)


def _failure(logged: Sequence[tuple[str, str]]) -> Sent:
    """Return what may be said of a failure: a status, or known words. The message itself is among what is logged.

    A failure of the connection that nobody knows counts as one after which the message may have arrived; so does one
    of several addressees, for the others have it.
    """
    warned = [line for level, line in logged if level in ("WARNING", "ERROR", "CRITICAL")]
    raised = [line for _, line in logged if _EXCEPTION.match(line)]
    partly = any(level == "INFO" and _PARTLY.match(line) for level, line in logged)
    if partly:
        return Sent(False, f"not all that the address names accepted it: {_cause(warned, raised).error}", lost=True)
    return _cause(warned, raised)


def _cause(warned: Sequence[str], raised: Sequence[str]) -> Sent:
    lost = any((_known(line) or _UNKNOWN)[1] for line in raised if not _SMTP_STATUS.search(line))
    status = next((match[1] for line in warned if (match := _STATUS.search(line))), None)
    status = status or next((match[1] for line in raised if (match := _SMTP_STATUS.search(line))), None)
    if status is not None:
        return Sent(False, f"it answered {status}", lost=lost or status == _NO_ANSWER_BEHIND)
    found = _known("\n".join([*warned, *raised]))
    if found is None and (raised or any(word in line.lower() for line in warned for word in _BROKEN)):
        found = _UNKNOWN
    if found is None:
        return Sent(False, "it did not accept it")
    return Sent(False, found[0], lost=lost or found[1])


def _known(text: str) -> tuple[str, bool] | None:
    """Return what words about a connection come to, and whether the message may have arrived."""
    return next(((cause, lost) for word, cause, lost in _CAUSES if word in text.lower()), None)


def _opened(url: str, setting: str) -> Apprise:
    with _loading, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its own imports', of what later Pythons lack
        for name in _LIBRARIES:
            library = logging.getLogger(name)
            library.propagate = False
            if not library.handlers:
                library.addHandler(logging.NullHandler())
        logging.getLogger("apprise").setLevel(logging.DEBUG)  # for `_failure`, which reads what nobody else does
        from apprise import Apprise, AppriseAsset

        asset = AppriseAsset(
            app_id="fedi-safety",
            app_desc="fedi-safety",
            app_url="",
            image_url_mask="",
            image_url_logo="",
            async_mode=False,
            http_redirects=False,
            pgp_autogen=False,
            pem_autogen=False,
            allow_templates=False,
            secure_logging=True,
            service_timeout=LIMIT_S,
        )
        service = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if service is None:
            remedy = "write it as apprise does (https://appriseit.com/services/), such as ntfys://host/topic"
            raise ConfigError(setting, f"{shown(url)}... is no address that apprise knows, or lacks a part", remedy)
        service.redirects = False
        service.retry = 0  # whoever counts what may have arrived twice sends again; an address may ask for more
        sender = Apprise(asset=asset)
        sender.add(service)
        return sender
