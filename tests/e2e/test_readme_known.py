"""The README's story of known images, by its own commands: two instances, a real pict-rs, and no picture passed on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedi_safety.core.testcard import TEST_CARD_SHA256, draw_test_card
from fedi_safety.detectors.known.pdq import pdq
from support.corpus.photos import jpeg_bytes, picture
from support.program import FIRST, TYPED, Done, program
from support.readme import Step, comparable, documented
from support.servers.pictrs import PictrsServer, pictrs_server
from support.serving import gate

PICTRS, GATE = "pictrs+http://127.0.0.1:8080", "https://safety.one.example"
KEY = "the-key-of-your-pict-rs"
NAMES = re.compile(
    r"[0-9a-f]{64,80}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|RW[\w+/]{54}|fss_[\w-]{20,}|(?<=link )[0-9a-f]{16}"
)
"""What is named another way each time: stored pictures by their bytes, entries, keys, tokens, links of a chain."""


class Story:
    """Runs the README's steps in order. `names` are its made-up names, with what they are here."""

    def __init__(self, places: Mapping[str, str], folders: Mapping[str, Path]) -> None:
        self.places = places
        self.folders = folders
        self.names: dict[str, str] = {}
        self.steps = iter(documented("with pict-rs"))

    def here(self, text: str) -> str:
        """Return what the README says with the names of here."""
        for place, there in self.places.items():
            text = text.replace(place, there)
        return NAMES.sub(lambda found: self.names.get(found[0], found[0]), text)

    def follow(self, count: int) -> list[Done]:
        """Run so many further steps; each ends and prints as the README says."""
        return [self._follow(next(self.steps)) for _ in range(count)]

    def _follow(self, step: Step) -> Done:
        command = self.here(step.command)
        for place, folder in self.folders.items():
            command = command.replace(place, shlex.quote(str(folder)))
        words = shlex.split(command)
        assert words[0] == "./fedi-safety", command
        variables = {name: self.here(value) for name, value in step.variables.items()}
        for place, folder in self.folders.items():
            variables = {name: value.replace(place, str(folder)) for name, value in variables.items()}
        done = program(*words[1:], env=variables)
        assert done.code == step.code, (command, done)
        new = [name for name in NAMES.findall(done.out) if name not in self.names.values()]
        self.names |= zip([name for name in NAMES.findall(step.output) if name not in self.names], new, strict=True)
        # In which order stored objects are named is not promised.
        said, printed = self.here(step.output), done.out.replace(TYPED, "./fedi-safety")
        assert sorted(comparable(printed, self.folders)) == sorted(comparable(said, self.folders)), command
        return done


def saved(image: Image.Image, kind: str, quality: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, quality=quality)
    return buffer.getvalue()


def hash_line(name: str) -> str:
    bits, _ = pdq(np.asarray(picture(name)))
    return f"pdq {np.packbits(bits).tobytes().hex()}\n"


def key_of(server: PictrsServer, alias: str) -> str:
    page = server.internal("GET", "hashes", limit=100)["page"]
    return next(str(found["hex"]) for found in page["hashes"] if alias in found["aliases"])


def stored_bytes(server: PictrsServer, alias: str) -> bytes:
    return server.http.get(f"{server.url}/image/original/{alias}").content


@pytest.mark.long
@pytest.mark.needs("pictrs")
def test_the_story_of_a_known_picture_goes_as_the_readme_tells_it(tmp_path: Path) -> None:
    files, two = tmp_path / "files", tmp_path / "two"
    (two / "files").mkdir(parents=True)
    files.mkdir()
    friends = tmp_path / "friends.txt"
    friends.write_text(hash_line("coffee") + hash_line("china"))
    (files / "card.png").write_bytes(draw_test_card())  # what the README's first steps removed
    assert program("scan", str(files), *FIRST, "--quiet").code == 0
    assert not list(files.iterdir())
    with pictrs_server(MEDIA__IMAGE__FORMAT="webp") as server:
        env = {"FEDI_SAFETY_PICTRS__API_KEY": server.api_key}
        coffee, china, cat = (server.upload(jpeg_bytes(name)) for name in ("coffee", "china", "chelsea"))
        assert stored_bytes(server, coffee)[8:12] == b"WEBP", "pict-rs encoded it anew"
        story = Story(
            {PICTRS: server.store_url, KEY: server.api_key},
            {"/path/to/friends.txt": friends, "/path/to/two": two},
        )
        dismissed = next(step for step in documented("with pict-rs") if " dismiss " in step.command)
        story.names[NAMES.findall(dismissed.command)[0]] = key_of(server, coffee)
        story.follow(2)
        assert key_of(server, china) in story.names.values()
        story.follow(2)
        assert [server.status(alias) for alias in (coffee, china, cat)] == [200, 404, 200]
        smaller = picture("coffee").resize((300, 200), Image.Resampling.BICUBIC)
        again = server.upload(saved(smaller, "JPEG", 70))
        story.follow(1)
        assert server.status(again) == 200
        shown = program("show", key_of(server, again), env=env).out
        assert re.search(r"known\.block = 0\.0000 \(frame 0, entry [0-9a-f]{64}@\d+ of dismissed", shown), shown
        _, _, subscribers = story.follow(3)
        assert TEST_CARD_SHA256.hex() in story.names.values()
    token = re.search(r"fss_[\w-]+", subscribers.out)
    assert token is not None
    (two / "token").write_text(token[0] + "\n")
    with Image.open(BytesIO(draw_test_card())) as card:
        (two / "files" / "copy.webp").write_bytes(saved(card.convert("RGB"), "WEBP", 60))
    home = Path.home() / ".local/share/fedi-safety"
    with gate(
        tmp_path / "gate", whole={"sharing": {"name": "one.example"}, "ledger": str(home / "ledger.db")}
    ) as serving:
        story.places = {**story.places, GATE: f"http://127.0.0.1:{serving.port}"}
        story.follow(1)
        (two / "files" / "copy.webp").unlink()  # so that nothing could read it
        story.follow(2)
    assert next(story.steps, None) is None
