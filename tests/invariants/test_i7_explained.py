"""I7: every verdict explains itself, and stored scores decide anew without fetching a single object."""

from __future__ import annotations

import re
from pathlib import Path

from support.corpus.photos import jpeg_bytes
from support.program import FACES, program


def test_rule_factor_signal_detector_weights_and_frame_are_on_record(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (media / "p.jpg").write_bytes(jpeg_bytes("astronaut"))
    policy = tmp_path / "faces.toml"
    policy.write_text(FACES)
    program("scan", str(media), "--dry-run", "--policy", str(policy))
    shown = program("show", "p.jpg", "--json").json
    (judgement,) = shown["judgements"]
    assert judgement["policy"].startswith("faces@")
    (reason,) = judgement["reasons"]
    assert (reason["rule"], reason["verdict"]) == ("a face", "block")
    (factor,) = reason["factors"]
    assert (factor["signal"], factor["frame"]) == ("face.present", 0)
    assert judgement["signals"]["face.present"]["value"] == factor["value"] >= factor["threshold"]
    for name in ("open_nsfw", "nudenet"):
        assert re.search(r"\d+\.\d+.* sha256:[0-9a-f]{12}", judgement["detectors"][name])


def test_a_new_policy_needs_no_file_any_more(tmp_path: Path) -> None:
    """The files are taken away: deciding anew must not notice."""
    media = tmp_path / "media"
    media.mkdir()
    for name in ("astronaut", "coffee"):
        (media / name).write_bytes(jpeg_bytes(name))
    policy = tmp_path / "faces.toml"
    policy.write_text(FACES)
    program("scan", str(media), "--dry-run", "--policy", str(policy))
    for path in media.iterdir():
        path.unlink()
    other = tmp_path / "other.toml"
    other.write_text(FACES.replace("face = 0.5", "face = 0.0001"))
    preview = program("policy", "preview", str(other), "--json").json
    assert preview["objects"] == 2
    assert sum(change["objects"] for change in preview["changes"]) + preview["undecided"] == 2
    assert {"from": "block", "to": "block", "objects": 1} in preview["changes"]
