"""CLIP and SigLIP models as a detector: pictures and texts in one space, concepts as shares.

This file builds it from the settings: it finds the model, plans how to run it and reads the concepts. folder.py checks
what a model's own files say, preprocess.py and tokens.py follow them, towers.py runs the networks, text_cache.py
remembers texts, detector.py puts them together. Nothing here downloads anything.
"""

from __future__ import annotations

from pathlib import Path

from fedi_safety.concepts.reading import configured_concepts
from fedi_safety.config.locations import data_dir, model_dir
from fedi_safety.config.schema import Clip as Settings
from fedi_safety.detectors.clip.detector import Clip, ClipConcepts
from fedi_safety.detectors.clip.folder import Plan, plan_model
from fedi_safety.detectors.sessions.devices import DeviceChoice, choose_device
from fedi_safety.service.cpus import cpu_count


def cache_dir() -> Path:
    """Return where text embeddings and converted networks are kept; they can be deleted at any time."""
    return data_dir() / "cache"


def plan(settings: Settings, device: DeviceChoice) -> Plan:
    """Return how the configured model runs on a device. Raises `ModelError` or `UsageError`."""
    return plan_model(model_dir(settings) / settings.model, device, settings.precision)


def open_clip(settings: Settings, device: DeviceChoice, threads: int) -> Clip:
    """Load the detector. Raises `ModelError`, `ConfigError`, `UsageError` or `DeviceError`.

    `threads` is how many processor threads one `score` uses.
    """
    concepts = configured_concepts(settings)
    return Clip(
        plan(settings, device),
        concepts,
        device,
        threads,
        batch=settings.batch,
        unload_after_s=settings.unload_after_s,
        cache=cache_dir(),
        text_threads=cpu_count(),
    )


def describe(settings: Settings, device: str) -> ClipConcepts:
    """Return what is looked for in the words of the configured model, without loading the network for pictures.

    Raises `ModelError`, `ConfigError` or `UsageError`.
    """
    chosen = plan(settings, choose_device(device))
    return ClipConcepts(chosen, configured_concepts(settings), cpu_count(), cache_dir())
