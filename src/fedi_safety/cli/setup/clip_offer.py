"""What the detector `clip` costs and adds here, in words, before anything is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedi_safety.config.schema import Settings


def clip_offer(settings: Settings) -> Iterator[str]:
    """Yield lines about the configured model: its size, how quick it would be here, and what it sees."""
    from fedi_safety.evaluation.speed import estimated_seconds
    from fedi_safety.models.names import known_model

    known = known_model(settings.clip.model)
    cost = "of unknown size"
    if known is not None:
        seconds, _ = estimated_seconds(known.gflop)
        cost = f"{known.download_mb:,} MB to fetch, about {seconds:.2g} s a picture on this machine, by an estimate"
    yield f"CLIP ({settings.clip.model}) can be added: {cost}."
    yield "It looks at pictures without a face and at drawings too, and only at what the others leave open."


def is_here(settings: Settings) -> bool:
    """Tell whether the configured model lies where models are kept."""
    from fedi_safety.config.locations import model_dir

    return (model_dir(settings.clip) / settings.clip.model).is_dir()
