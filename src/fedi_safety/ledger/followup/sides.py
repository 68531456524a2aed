"""What follows a verdict, as one side of a ledger."""

from __future__ import annotations

from fedi_safety.ledger.followup.app_actions import ActionSide
from fedi_safety.ledger.followup.confirming import ConfirmingSide
from fedi_safety.ledger.followup.evidence import EvidenceSide
from fedi_safety.ledger.followup.history import HistorySide
from fedi_safety.ledger.followup.review import ReviewSide
from fedi_safety.ledger.followup.seals import SealSide
from fedi_safety.ledger.followup.traces import TraceSide
from fedi_safety.ledger.followup.views import ViewSide


class FollowUp(TraceSide, ActionSide, ConfirmingSide, HistorySide, SealSide, EvidenceSide, ReviewSide, ViewSide):
    """Whose a content is, what people decide, what is done through the app, what is kept, told and happened."""
