"""A stand-in for NCMEC's CyberTipline on loopback. It takes no file, and refuses what the documentation refuses.

Reports are checked against the excerpt of a schema that lies in schemas/ (marked as such), in their order as well. What
goes wrong it says in the answer's body, with HTTP status 200.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

import xmlschema

from support.servers.publishers import Asked, Publisher, Reply, _basic

EXCERPT = Path(__file__).parent / "schemas/cybertip-excerpt.xsd"
MARK = b"urn:fedi-safety:excerpt"
USER, PASSWORD = "me", "secret"


class Ncmec(Publisher):
    """Opens reports and finishes them. `reports` has each by its number: what was sent, and whether it is finished.

    `real` has it serve the schema without the excerpt's mark, as if it were the real one. `codes` are answered instead,
    by path, each once.
    """

    def __init__(self, *, real: bool = False) -> None:
        super().__init__()
        self.reports: dict[str, tuple[bytes, bool]] = {}
        self.codes: dict[str, list[int]] = {}
        self.xsd = EXCERPT.read_bytes()
        if real:
            self.xsd = self.xsd.replace(MARK, b"urn:somewhere:else")
        self._schema = xmlschema.XMLSchema(EXCERPT.read_text("utf-8"))

    @property
    def finished(self) -> list[str]:
        """The numbers of the reports that count."""
        return [number for number, (_, done) in self.reports.items() if done]

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [f"{asked.method} {asked.path}" for asked in self.asked]

    def answer(self, asked: Asked) -> Reply:
        """Answer a request."""
        if not _basic(asked, f"{USER}:{PASSWORD}"):
            return Reply(401, b"who are you")
        if codes := self.codes.get(asked.path, []):
            return said(codes.pop(0), "told to")
        if (asked.method, asked.path) == ("GET", "/xsd"):
            return Reply(200, self.xsd, {"Content-Type": "application/xml"})
        if (asked.method, asked.path) == ("POST", "/submit"):
            return self._submit(asked)
        if (asked.method, asked.path) == ("POST", "/finish"):
            return self._finish(parse_qs(asked.body.decode()).get("id", [""])[0])
        return Reply(404)

    def _submit(self, asked: Asked) -> Reply:
        if not asked.headers.get("Content-Type", "").startswith("text/xml"):
            return said(4000, "not XML")
        try:
            wrong = next(self._schema.iter_errors(asked.body.decode()), None)
        except SyntaxError:  # which theirs for what is no XML is as well
            return said(4110, "malformed")
        if wrong is not None:
            return said(4100, "Validation failed")
        number = str(4711 + len(self.reports))
        self.reports[number] = (asked.body, False)
        return said(0, "Success", f"<reportId>{number}</reportId>")

    def _finish(self, number: str) -> Reply:
        if number not in self.reports:
            return said(5001, "Report does not exist")
        body, done = self.reports[number]
        if done:
            return said(5102, "Report already finished")
        self.reports[number] = (body, True)
        return said(0, "", f"<reportId>{number}</reportId><files/>", "reportDoneResponse")


def said(code: int, words: str, more: str = "", name: str = "reportResponse") -> Reply:
    """Return an answer, whose HTTP status is 200 whatever it says."""
    description = f"<responseDescription>{words}</responseDescription>" if words else ""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><{name}><responseCode>{code}</responseCode>{description}{more}</{name}>'
    )
    return Reply(200, body.encode(), {"Content-Type": "text/xml"})
