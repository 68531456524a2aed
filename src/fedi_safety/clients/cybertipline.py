"""NCMEC's CyberTipline as it is spoken: the schema, a report that is opened, and one that is finished. No file, ever.

From report.cybertip.org/ispws/documentation. Nothing is tried again here: a report that is sent twice is two reports.
What an answer's body says counts, not its HTTP status.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from xml.etree import ElementTree

import httpx

from fedi_safety import __version__
from fedi_safety.core.errors import ExitCode, FediSafetyError, printable
from fedi_safety.core.notices.access import ACCESS

NAME = "NCMEC's CyberTipline"
"""What messages call it."""

FINISHED = 5102
"""The code that says of a report that it was finished before."""

NO_REPORT = 5001
"""The code that says that there is no such report, such as one that was never finished and went by itself."""

_MOST_BYTES = 8 << 20
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_CREDENTIALS = (2000, 3100)
_OWN = "each environment has its own credentials; check them"
_MEANINGS = {
    1000: "a fault of theirs",
    1100: "they could not save it",
    1111: "an upload failed",
    1300: "they could not update it",
    2000: "the credentials are not accepted",
    3100: "this account may not do that",
    4000: "an invalid request",
    4100: "it does not fit the schema",
    4110: "it is no XML",
    4200: "a malformed file",
    5001: "there is no such report",
    5002: "there is no such file",
    5101: "it was retracted",
    5102: "it was finished before",
}


class Environment(StrEnum):
    """Where a report goes."""

    TEST = "test"
    PRODUCTION = "production"


BASES: Mapping[Environment, str] = {
    Environment.TEST: "https://exttest.cybertip.org/ispws",
    Environment.PRODUCTION: "https://report.cybertip.org/ispws",
}


class CybertipError(FediSafetyError):
    """NCMEC could not be reached, or did not take a report.

    `unclear` is true where it may have arrived all the same; `code` is what the answer's body said, if it said any.
    """

    exit_code = ExitCode.OUTSIDE

    def __init__(self, cause: str, remedy: str = "", *, unclear: bool = False, code: int | None = None) -> None:
        """Keep what is known besides the message."""
        self.unclear = unclear
        self.code = code
        super().__init__(NAME, cause, remedy)


class CybertipUsageError(CybertipError):
    """NCMEC was asked for what it does not give, or by whom it does not know."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer's body says. `text` is the body, for the record; `report` the report's number, or empty."""

    code: int
    description: str
    report: str
    text: str


class Cybertipline:
    """Speaks with one environment as one account. Close it."""

    def __init__(self, base: str, user: str, password: str, *, transport: httpx.BaseTransport | None = None) -> None:
        """Take where it is and the account; nothing is sent."""
        self._http = httpx.Client(
            base_url=base,
            auth=httpx.BasicAuth(user, password),
            timeout=_TIMEOUT,
            verify=ssl.create_default_context(),
            transport=transport,
            headers={"User-Agent": f"fedi-safety/{__version__}"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def schema(self) -> bytes:
        """Return the XML schema that reports must fit. Raises `CybertipError`."""
        try:
            body = self._body(self._http.build_request("GET", "/xsd"))
        except CybertipUsageError:
            raise
        except CybertipError as error:  # nothing was filed yet, so that nothing can be unclear
            cause = f"its schema, which a report is checked against first, cannot be had: {error.cause}"
            raise CybertipError(cause, "nothing was sent; try again later", code=error.code) from None
        if b"schema" not in body[:4096]:
            raise CybertipError("it gave no schema", "try again later")
        return body

    def submit(self, document: bytes) -> Answer:
        """Open a report; it counts only once it is finished. Raises `CybertipError`."""
        headers = {"Content-Type": "text/xml; charset=utf-8"}
        answer = self._answer(self._http.build_request("POST", "/submit", content=document, headers=headers))
        if not answer.report:
            raise CybertipError("it took the report and gave no number", "ask NCMEC", unclear=True, code=answer.code)
        return answer

    def finish(self, report: str) -> Answer:
        """Finish a report. Raises `CybertipError`, with `FINISHED` as its code where it was before."""
        return self._answer(self._http.build_request("POST", "/finish", data={"id": report}))

    def _answer(self, request: httpx.Request) -> Answer:
        """Send, and read the answer's own code. Raises `CybertipError` for every code but 0."""
        body = self._body(request)
        answer = _read(body)
        if answer.code == 0:
            ACCESS.accepted(NAME)
            return answer
        meaning = _MEANINGS.get(answer.code, "a code that its documentation does not have")
        said = f": {answer.description[:200]}" if answer.description else ""
        cause = f"it answers {answer.code}, {meaning}{said}"
        if answer.code in _CREDENTIALS:
            error = CybertipUsageError(cause, _OWN, code=answer.code)
            raise ACCESS.refused(NAME, f"it answers {answer.code}, {meaning}", error)
        raise CybertipError(cause, "nothing was filed; see what it says", code=answer.code)

    def _body(self, request: httpx.Request) -> bytes:
        try:
            response = self._http.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            trust = "CERTIFICATE_VERIFY_FAILED" in str(error)
            cause = "its certificate is not trusted" if trust else "it cannot be reached"
            raise CybertipError(cause, "check the network; nothing was sent") from None
        except httpx.TransportError as error:
            cause = f"the connection broke off ({type(error).__name__})"
            raise CybertipError(cause, "whether it arrived is not known", unclear=True) from None
        try:
            return self._whole(response)
        except httpx.TransportError:
            cause = "its answer broke off"
            raise CybertipError(cause, "whether it arrived is not known", unclear=True) from None
        finally:
            response.close()

    @staticmethod
    def _whole(response: httpx.Response) -> bytes:
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > _MOST_BYTES:
                raise CybertipError("its answer is larger than any that it has", "try again later", unclear=True)
        status = response.status_code
        if status in (401, 403):
            error = CybertipUsageError(f"it does not accept the credentials ({status})", _OWN)
            raise ACCESS.refused(NAME, error.cause, error)
        if status >= 500 and not _is_answer(bytes(body)):
            raise CybertipError(f"it answered {status}", "whether it arrived is not known", unclear=True)
        if not 200 <= status < 300 and not _is_answer(bytes(body)):
            raise CybertipError(f"it answered {status}", "nothing was filed; try again later")
        return bytes(body)


def _is_answer(body: bytes) -> bool:
    return re.search(rb"<responseCode>\s*\d+\s*</responseCode>", body) is not None


def _read(body: bytes) -> Answer:
    """Read an answer's body. Raises `CybertipError` where it is none."""
    try:
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
            raise ValueError
        root = ElementTree.fromstring(body)
        found = {element.tag.rpartition("}")[2]: (element.text or "").strip() for element in root.iter()}
        code = int(found["responseCode"])
    except (ElementTree.ParseError, ValueError, KeyError):
        cause = "its answer is none that its documentation has"
        raise CybertipError(cause, "whether it arrived is not known", unclear=True) from None
    said = printable(found.get("responseDescription", ""))
    report = found.get("reportId", "")
    return Answer(code, said, report if re.fullmatch(r"\d{1,20}", report) else "", body.decode("utf-8", "replace"))
