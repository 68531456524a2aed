"""Debian's Chromium without a window, and what it shows of files: by `img` and `video`, as pages of every server do.

It is driven by Playwright, has a home of its own, and reaches nothing but the page and the files on loopback.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from support import needs
from support.servers.debian import path_of
from support.servers.web import Answer, web

_PAGE = Path(__file__).with_suffix(".html")
_AT_ONCE = 8  # files
_MOST_MS = 8000  # for whatever a file has to do
ARGUMENTS = (
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # of addresses as well as of names
    "--disable-gpu",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture as it was shown: how, its true size, and its pixels scaled down, transparent where nothing was."""

    how: str
    width: int
    height: int
    columns: int
    rows: int
    rgba: bytes


class Chromium:
    """A page in a running browser."""

    def __init__(self, browser: Any, port: int, served: dict[str, Answer | bytes]) -> None:
        """Open it; what is in `served` is what the server on `port` has."""
        self.origin = f"http://127.0.0.1:{port}"
        self.page = browser.new_page()
        self.page.goto(f"{self.origin}/")
        self._served = served

    def show(self, files: Sequence[tuple[bytes, str]]) -> list[list[Seen]]:
        """Return what is shown of each file of a media type: its first picture first, then some of its later ones."""
        found: list[list[Seen]] = []
        for at in range(0, len(files), _AT_ONCE):
            batch = files[at : at + _AT_ONCE]
            asked = [{"path": f"/{number}", "type": kind} for number, (_, kind) in enumerate(batch)]
            self._served.update({f"/{number}": data for number, (data, _) in enumerate(batch)})
            answers = self.page.evaluate(f"files => show(files, {_MOST_MS})", asked)
            found += [[_seen(picture) for picture in pictures] for pictures in answers]
        return found


def _seen(picture: dict[str, Any]) -> Seen:
    return Seen(**(picture | {"rgba": base64.b64decode(picture["rgba"])}))


@contextmanager
def profiled(profile: Path, **how: Any) -> Iterator[Any]:
    """Start a browser that keeps its profile in a folder, as a person's does, and give its context."""
    from playwright.sync_api import sync_playwright

    needs.started("chromium")
    with TemporaryDirectory(prefix="chromium-") as home:
        places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), home)
        with mock.patch.dict(os.environ, places), sync_playwright() as playwright:
            found = path_of("chromium")
            how = {"executable_path": found, "args": ARGUMENTS, **how}
            context = playwright.chromium.launch_persistent_context(profile, **how)
            try:
                yield context
            finally:
                context.close()


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Start a browser; its own files go with it when it ends."""
    from playwright.sync_api import sync_playwright

    needs.started("chromium")
    served: dict[str, Answer | bytes] = {"/": _PAGE.read_bytes()}
    with ExitStack() as until:
        home = until.enter_context(TemporaryDirectory(prefix="chromium-"))  # pytest's are too long for its socket
        places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), home)
        port, _ = until.enter_context(web(served))
        until.enter_context(mock.patch.dict(os.environ, places))
        playwright = until.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=path_of("chromium"), args=ARGUMENTS)
        until.callback(browser.close)
        yield Chromium(browser, port, served)
