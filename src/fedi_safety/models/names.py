"""The names that models go by, and where a hub keeps them. Knows nothing of what is on the disk."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fedi_safety.core.errors import ModelError
from fedi_safety.core.wording.hints import hint

OWNER = "immich-app"
"""Who publishes models in the layout that is read here: https://immich.app."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that is worth naming, and what to know before fetching it."""

    name: str
    pixels: int
    dim: int
    download_mb: int
    gflop: int  # for one picture, a multiplication and an addition counted as two
    note: str


# Sizes and work follow from the architectures (open_clip's model configurations): 4 bytes a weight.
KNOWN = (
    KnownModel("ViT-B-32__openai", 224, 512, 605, 9, "quick; misses small things"),
    KnownModel("ViT-B-16__openai", 224, 512, 598, 35, "between the other two"),
    KnownModel("ViT-L-14__openai", 224, 768, 1710, 162, "the default, and the earlier fedi-safety's"),
    KnownModel("ViT-L-14-336__openai", 336, 768, 1712, 381, "sees smaller things"),
    KnownModel("ViT-B-16-SigLIP__webli", 224, 768, 813, 36, ""),
    KnownModel("ViT-L-16-SigLIP-256__webli", 256, 1024, 2609, 161, ""),
    KnownModel("ViT-SO400M-14-SigLIP-384__webli", 384, 1152, 3512, 665, ""),
    KnownModel("ViT-B-32-SigLIP2-256__webli", 256, 768, 1507, 11, "many languages; quick"),
    KnownModel("ViT-B-16-SigLIP2__webli", 224, 768, 1501, 36, "many languages"),
    KnownModel("ViT-L-16-SigLIP2-256__webli", 256, 1024, 3526, 161, "many languages"),
    KnownModel("ViT-SO400M-16-SigLIP2-384__webli", 384, 1152, 4544, 514, "many languages"),
)

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,127}")


def known_model(name: str) -> KnownModel | None:
    """Return what is known of a model by its name, or by its name on the hub; None where that is nothing."""
    return next((known for known in KNOWN if name in (known.name, f"{OWNER}/{known.name}")), None)


def repository_of(name: str) -> str:
    """Return the hub repository of a model: `owner/name` as it is, a bare name with Immich's owner before it."""
    if "/" in name:
        owner, _, rest = name.partition("/")
        if _NAME.fullmatch(owner) and _NAME.fullmatch(rest):
            return name
    elif _NAME.fullmatch(name):
        return f"{OWNER}/{name}"
    raise ModelError(f"model {name!r}", "not a model's name", f"write a name of {hint('models list')}, or owner/name")


def folder_name(name: str) -> str:
    """Return what a model's folder is called. Raises `ModelError` for what cannot be one."""
    last = name.rsplit("/", 1)[-1]
    if not _NAME.fullmatch(last):
        raise ModelError(f"model {name!r}", "not a model's name", "use letters, digits, dots, dashes and underscores")
    return last
