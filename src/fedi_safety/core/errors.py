"""The one error tree. Each class carries its exit code; its docstring is the default message.

Only what a person can act on is an error here. Bugs stay ordinary exceptions and are never caught as these.
An object that could not be judged is *not* an error of the program: see `Unscannable`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Self

from fedi_safety.core.enums import Reason


class ExitCode(IntEnum):
    """What the program tells its caller; documented in docs/exit-codes.md."""

    DONE = 0
    UNSCANNED = 1
    USAGE = 2
    OUTSIDE = 3
    BREAKER = 4
    SELF_TEST = 5
    CONDEMNED = 6
    INTERRUPTED = 130


class FediSafetyError(Exception):
    """Something went wrong that a person can mend."""

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE
    refused = False
    """Whether credentials were refused, so that nothing works until a person corrects them."""
    heard = False
    """Whether that is noted already, by whom these credentials are for (`core.notices.access`)."""

    def __init__(self, thing: str = "", cause: str = "", remedy: str = "") -> None:
        """Name the `thing` that failed, the `cause`, and the `remedy`; each is a short phrase."""
        self.thing = thing
        self.cause = cause or (type(self).__doc__ or "").strip().rstrip(".")
        self.remedy = remedy
        super().__init__(self.line())

    def as_refused(self) -> Self:
        """Return this error as one of credentials that were refused."""
        self.refused = True
        return self

    def line(self) -> str:
        """Return the whole message on one line, with control characters made visible."""
        text = f"{self.thing}: {self.cause}" if self.thing else self.cause
        if self.remedy:
            text = f"{text}; {self.remedy}"
        return printable(text)


class UsageError(FediSafetyError):
    """The command cannot be carried out as it was given."""


class ConfigError(FediSafetyError):
    """The configuration is not valid."""


class PolicyError(FediSafetyError):
    """The policy file is not valid."""

    def __init__(self, source: str, problems: tuple[str, ...]) -> None:
        """Keep every problem found in `source`, one phrase each, with its line where it has one."""
        self.problems = problems
        super().__init__(source, "; ".join(problems), "see docs/policy.md")


class ModelError(FediSafetyError):
    """A detector's model file is missing, altered, or cannot be loaded."""


class DeviceError(ModelError):
    """The device that the networks run on was lost, or has not enough memory."""

    exit_code = ExitCode.OUTSIDE


class LedgerError(FediSafetyError):
    """The ledger cannot be used."""

    exit_code = ExitCode.OUTSIDE


class LedgerUsageError(LedgerError):
    """The ledger cannot be used as it was given: wrong place, rights or version."""

    exit_code = ExitCode.USAGE


class DamagedError(LedgerError):
    """Something that the ledger has stored cannot be read."""

    def at(self, name: str) -> DamagedError:
        """Return this error as one of the ledger that people know by this name, which who reads a row does not know."""
        return DamagedError(name, self.cause, self.remedy)


class SupersededError(LedgerError):
    """The ledger goes on without this process: a newer version upgraded it, or a later run took over. No wait helps."""


class KnownError(FediSafetyError):
    """Lists of known images cannot be used."""

    exit_code = ExitCode.OUTSIDE


class KnownUsageError(KnownError):
    """A list of known images cannot be used as it was given."""

    exit_code = ExitCode.USAGE


class SharingError(KnownError):
    """A shared list cannot be had, is not believed, or cannot be published."""


class SharingUsageError(SharingError):
    """Sharing was asked for in a way that cannot be."""

    exit_code = ExitCode.USAGE


class StoreError(FediSafetyError):
    """The store cannot be reached or used."""

    exit_code = ExitCode.OUTSIDE


class StoreUsageError(StoreError):
    """The store was named wrongly: it does not exist, is of another kind, or may not be read."""

    exit_code = ExitCode.USAGE


class SweepError(FediSafetyError):
    """The workers of a sweep cannot be had, or do not end their work."""

    exit_code = ExitCode.OUTSIDE


class SweepUsageError(SweepError):
    """A sweep cannot be made as it was asked for."""

    exit_code = ExitCode.USAGE


class TraceError(FediSafetyError):
    """The server cannot be asked who put a content there."""

    exit_code = ExitCode.OUTSIDE


class TraceUsageError(TraceError):
    """Tracing is set up wrongly, or was asked about what no server of this kind can know."""

    exit_code = ExitCode.USAGE


class ApiError(FediSafetyError):
    """A server's API did not answer as it was asked.

    `status` is the HTTP status, None where there was no answer; `code` is what the server calls the error, or empty.
    """

    exit_code = ExitCode.OUTSIDE

    def __init__(self, thing: str, cause: str, remedy: str = "", *, status: int | None = None, code: str = "") -> None:
        """Keep status and code besides the message."""
        self.status = status
        self.code = code
        super().__init__(thing, cause, remedy)


class ModerationError(FediSafetyError):
    """An action through the app failed."""

    exit_code = ExitCode.OUTSIDE


class ModerationGone(ModerationError):
    """What an action was to be done to is not there any more."""


class ModerationDown(ModerationError):
    """The server does nothing for anybody now, or not for this token."""


class SealError(FediSafetyError):
    """A sealed copy cannot be made or opened."""

    exit_code = ExitCode.OUTSIDE


class SealUsageError(SealError):
    """Sealing is set up wrongly, or what was given does not fit."""

    exit_code = ExitCode.USAGE


class SelfTestError(FediSafetyError):
    """The self-test failed."""

    exit_code = ExitCode.SELF_TEST


class Unscannable(Exception):
    """One object could not be read, decoded or judged. It is never a verdict.

    Raised by stores, decoders and detectors; the pipeline turns it into an `Unscanned` record.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        """Say why with a typed `reason`; `detail` is a short human sentence without media content."""
        self.reason = reason
        self.detail = printable(detail)[:500]
        super().__init__(f"{reason.value}: {self.detail}" if detail else reason.value)


def out_of_memory(doing: str) -> Unscannable:
    """Return what a `MemoryError` says of the one object in hand while it was read, hashed, decoded or scored."""
    return Unscannable(Reason.TOO_LARGE, f"memory ran out while it was {doing}")


def printable(text: str) -> str:
    """Return `text` on one line: control characters and lone surrogates become backslash escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
