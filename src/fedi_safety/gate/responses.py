"""What is said outside: three answers inside become two here, by the operator's policy, with stable codes.

Pure. The codes are a promise (docs/api.md); pict-rs looks at the status alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedi_safety.config.schema import GateUnjudged
from fedi_safety.judging.types import Answer, Unjudged

UNRECORDED = "unrecorded"
"""The code of an upload that was refused only because its entry in the backlog could not be written down."""

PARTLY = "partly"
"""The code of an upload that was refused because only a part of it could be judged, though that part is clear."""

ACCEPTED, REFUSED = 200, 406

RETRY_AFTER_S = 5
"""What a 503 says of when to try again."""

_TEXTS = {
    Unjudged.NO_WORKER: "no worker has asked for work lately",
    Unjudged.QUEUE_FULL: "too many uploads wait",
    Unjudged.DEADLINE: "there was no verdict in time",
    Unjudged.STOPPING: "the gate is being stopped",
    Unjudged.UNSUPPORTED: "media of this kind is not decoded here",
    Unjudged.UNOPENED: "the workers that are there open no media of this kind",
    Unjudged.NOT_MEDIA: "this is no media",
    Unjudged.EMPTY: "the upload is empty",
    Unjudged.DECODER_FAILED: "it could not be decoded",
    Unjudged.ENGINE_FAILED: "judging it failed",
}


class Refusal(Exception):
    """A request that is not answered by a verdict: an error of the caller's, or of the moment."""

    def __init__(
        self, status: int, code: str, message: str, *, close: bool = False, why: str = "", kind: str = ""
    ) -> None:
        """Say it with an HTTP status, a stable code and a sentence; `close` ends the connection, its body unread.

        `why` is for the operator's log alone, in the place of the sentence; `kind` is the same for all of which the log
        needs one example.
        """
        self.status = status
        self.code = code
        self.message = message
        self.close = close
        self.why = why or message
        self.kind = kind
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class UploadResponse:
    """What the uploader's server is told. `owed`: it must stand in the backlog before that is told."""

    accepted: bool
    code: str
    message: str
    owed: bool = False

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return ACCEPTED if self.accepted else REFUSED


def response_for(answer: Answer, policy: GateUnjudged) -> UploadResponse:
    """Turn an answer into what is said."""
    if answer.reason is not None:
        accepted = accepts(policy, answer.reason.value)
        text = _TEXTS[answer.reason]
        response = f"let in without a verdict: {text}" if accepted else f"refused: {text}"
        return UploadResponse(accepted, answer.reason.value, response, owed=accepted)
    assert answer.judgement is not None
    rules = ", ".join(hit.rule for hit in answer.judgement.reasons)
    if answer.outcome == "block":
        return UploadResponse(False, "block", f"refused by the rule: {rules}" if rules else "refused")
    partly = None if answer.content is None else answer.content.partly
    if partly is None:
        return UploadResponse(True, answer.judgement.verdict.value, "accepted")
    if not accepts(policy, PARTLY):
        return UploadResponse(False, PARTLY, f"refused: only a part of it could be judged ({partly})")
    return UploadResponse(True, answer.judgement.verdict.value, f"accepted: what could be judged of it ({partly})")


def unrecorded(response: UploadResponse, policy: GateUnjudged) -> UploadResponse:
    """Return what is said instead when the backlog could not be written down."""
    if accepts(policy, UNRECORDED):
        return response
    return UploadResponse(
        False, UNRECORDED, f"refused: it could not be judged ({response.code}), nor that be written down"
    )


def accepts(policy: GateUnjudged, code: str) -> bool:
    """Whether the policy accepts what could not be judged for this reason."""
    return bool(getattr(policy, code) == "accept")


def body(response: UploadResponse, answer: Answer, upload: str) -> dict[str, Any]:
    """Return the JSON that goes with it."""
    judgement = answer.judgement
    return {
        "accepted": response.accepted,
        "code": response.code,
        "message": response.message,
        "id": upload,
        "verdict": None if judgement is None else judgement.verdict.value,
        "labels": [] if judgement is None else list(judgement.labels),
        "rules": [] if judgement is None else [hit.rule for hit in judgement.reasons],
        "sha256": answer.sha256.hex(),
    }
