"""The program with its removals counted: each that a store of files has done is a line in the file REMOVALS names."""

from __future__ import annotations

import os

from fedi_safety.cli import main
from fedi_safety.core.enums import PlanState
from fedi_safety.core.types import Object, Removal
from fedi_safety.stores.local import LocalStore

_remove = LocalStore.remove


def _counted(store: LocalStore, obj: Object, sha256: bytes) -> Removal:
    removal = _remove(store, obj, sha256)
    if removal.state is PlanState.DONE:
        log = os.open(os.environ["REMOVALS"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.write(log, f"{obj.key}\n".encode())
        os.close(log)
    return removal


if __name__ == "__main__":
    LocalStore.remove = _counted  # type: ignore[method-assign,assignment]
    main()
