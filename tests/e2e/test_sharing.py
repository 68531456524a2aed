"""Instances warn each other, from outside: publish, subscribe over a real gate, condemn, leave; and bad input."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedi_safety.cli import run
from support.judged_before import flipped, pdq
from support.program import Done, check_one_line_error, program
from support.serving import gate
from support.shared import Instance, more


class Administrator:
    """Somebody who has an instance and a terminal."""

    def __init__(self, folder: Path, name: str, **sharing: object) -> None:
        self.instance = Instance(folder, name)
        self.name, self.folder = name, folder
        keys = {"store": "store", "ledger": "ledger.db", "policy": "policy.toml"}
        lines = [f"{key} = {json.dumps(str(folder / value))}" for key, value in keys.items()]
        lines += ["[sharing]", *(f"{key} = {json.dumps(value)}" for key, value in {"name": name, **sharing}.items())]
        self.config = folder / "config.toml"
        self.config.write_text("\n".join(lines) + "\n")

    def does(self, *arguments: str) -> Done:
        return program(*arguments, "--config", str(self.config))

    def publishes(self, key: str, *pictures: bytes) -> None:
        """Remove something, confirm it as a person would, and publish."""
        self.instance.removed(key, pictures, confirmed=False)
        assert self.does("confirm", key).code == 0
        assert self.does("hashes", "publish").code == 0


@pytest.mark.long
def test_two_warn_a_third_whose_copy_is_found_without_a_read(tmp_path: Path) -> None:
    one, two, me = (Administrator(tmp_path / name, f"{name}.example") for name in ("one", "two", "me"))
    picture = pdq()
    me.instance.judged("copy.webp", [flipped(picture, 9)])
    one.publishes("picture.png", picture)
    two.publishes("other.jpg", more(picture, 4))
    with ExitStack() as gates:
        for each in (one, two):
            whole = {"sharing": {"name": each.name}, "ledger": str(each.folder / "ledger.db")}
            url = f"http://127.0.0.1:{gates.enter_context(gate(each.folder, whole=whole)).port}"
            given = each.does("hashes", "subscribers", "--add", me.name, "--json").json
            token = tmp_path / "token"
            token.write_text(given["token"] + "\n")
            done = me.does("hashes", "subscribe", url, given["key"], "--token-file", str(token))
            assert done.code == 0, done
            assert f"{each.name}: 2 new, 0 renewed, 0 retracted; 2 entries in force, of which 2 wait" in done.out
        assert "block instead of clear: 1 content in 1 object" in done.out
        assert me.instance.planned() == ["copy.webp"]
        shown = me.does("show", "copy.webp").out
        assert "of one.example/waiting at distance 9" in shown and "of two.example/waiting at distance" in shown
        assert me.does("hashes", "publish").out.startswith("list me.example has 0 entries")
        found = me.does("hashes", "publishers", "--json").json["publishers"]
        assert [(each["name"], each["in_force"], each["waiting"], each["failure"]) for each in found] == [
            ("one.example", 2, 2, ""), ("two.example", 2, 2, ""),
        ]  # fmt: skip
        assert one.does("dismiss", "picture.png").code == one.does("hashes", "publish").code == 0
        assert "one.example: 0 new, 0 renewed, 2 retracted" in me.does("hashes", "fetch", "one.example").out
        assert me.instance.planned() == []
        assert two.does("hashes", "subscribers", "--revoke", me.name).code == 0
        refused = me.does("hashes", "fetch")
        assert refused.code == 2 and "publisher two.example: it does not accept the credentials (401)" in refused.err
        (asked,) = one.does("hashes", "subscribers", "--json").json["subscribers"]
        assert asked["name"] == me.name and asked["requests"] >= 4
    assert "two.example is left, with 2 entries" in me.does("hashes", "leave", "two.example", "--yes").out
    assert me.does("hashes", "list").out.count("one.example") <= 4
    assert me.does("ledger", "verify").code == 0
    for each in (one, two, me):
        each.instance.end()


@pytest.mark.long
def test_bad_input_gets_one_line_with_its_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    me = Administrator(tmp_path / "me", "me.example")
    token = tmp_path / "token"
    token.write_text("two words")
    empty = tmp_path / "empty"
    empty.write_bytes(b"\xff\n")
    good = tmp_path / "good"
    good.write_text("fss_x")
    key = "RWQ0dQ+YvVn8/IqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c"
    cases = (
        (["hashes", "subscribe", "https://x.example", key], 2, "there is no token"),
        (["hashes", "subscribe", "https://x.example", key, "--token-file", str(tmp_path / "none")], 2, "no such file"),
        (["hashes", "subscribe", "https://x.example", key, "--token-file", str(token)], 2, "is not one word"),
        (["hashes", "subscribe", "https://x.example", key, "--token-file", str(empty)], 2, "is no text"),
        (["hashes", "subscribe", "https://x.example", "RWx", "--token-file", str(good)], 2, "no minisign public key"),
        (["hashes", "subscribe", "ftp://x.example", key, "--token-file", str(good)], 2, "no http address"),
        (["hashes", "subscribe", "http://x.example", key, "--token-file", str(good)], 2, "unencrypted"),
        (["hashes", "subscribe", "http://127.0.0.1:9", key, "--token-file", str(good)], 3, "cannot be reached"),
        (["hashes", "leave", "x.example"], 2, "no publisher that is subscribed to"),
        (["hashes", "publishers", "x.example"], 2, "no publisher that is subscribed to"),
        (["hashes", "publishers", "--release", "1"], 2, "name it"),
        (["hashes", "subscribers", "--add", "x", "--revoke", "y"], 2, "exclude each other"),
        (["hashes", "subscribers", "--revoke", "y"], 2, "has no token"),
        (["hashes", "publish", "--dry-run", "--new-key"], 2, "exclude each other"),
    )
    for arguments, code, said in cases:
        ended = run([*arguments, "--config", str(me.config)])
        check_one_line_error(Done(ended, *capsys.readouterr()), code, said)
    assert run(["hashes", "publishers", "--config", str(me.config)]) == 0
    assert "there is no publisher" in capsys.readouterr().out
    me.instance.end()
