"""Secrets that callers present, each with a name: several are valid at once, so that one can take over from another.

It knows no HTTP and logs nothing; only names ever leave it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping


class Keyring:
    """Finds whose key was presented. How long that takes depends on neither the keys nor how much of one is right."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """Take the secrets by name. Empty ones are refused: they would let in everybody."""
        if not all(keys.values()):
            raise ValueError("an empty key")
        # Digests are of one length, so that comparing them does not tell that of a secret.
        self._digests = {name: _digest(secret) for name, secret in keys.items()}

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._digests)

    def holder(self, presented: str | None) -> str | None:
        """Return the name of the key that was presented, None if it is none of them. Looks at all of them always."""
        digest = _digest(presented or "")
        found = None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
