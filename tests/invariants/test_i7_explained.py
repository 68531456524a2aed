"""I7: every verdict explains itself, and stored scores decide anew without fetching a single object."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes, picture
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


@pytest.mark.long
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


# Stand-ins, for harmless pictures: what each of the signals finds in them, condemned or for a person to see.
EVERYTHING = """\
[factors]
face = ["face.present"]
young = ["face.young"]
any = ["nsfw.open_nsfw"]

[[rules]]
name = "an old face"
when = { face = 0.5, young = 0.0001 }
verdict = "block"
across_frames = "review"

[[rules]]
name = "anything at all"
when = { any = 0.00001 }
verdict = "review"

[[rules]]
name = "a small face"
when = { face = 0.7, any = 0.00001 }
verdict = "block"
"""


@pytest.mark.long
def test_show_tells_of_every_condemned_or_reviewed_content_what_each_factor_rests_on(tmp_path: Path) -> None:
    """Without looking: a region with its class, size and place, or which frame as a whole; also from a second pass."""
    media = tmp_path / "media"
    media.mkdir()
    for name in ("astronaut", "coffee"):
        (media / f"{name}.jpg").write_bytes(jpeg_bytes(name))
    wide = picture("coffee", 600).resize((2400, 800))
    wide.paste(picture("astronaut", 600), (1700, 100))
    wide.save(media / "wide.png")
    first, *others = (picture(name, 320) for name in ("astronaut", "coffee", "rocket"))
    first.save(media / "slides.gif", save_all=True, append_images=others, duration=900)
    policy = tmp_path / "everything.toml"
    policy.write_text(EVERYTHING)
    assert program("scan", str(media), "--dry-run", "--policy", str(policy)).code == 0
    regions = 0
    for path in sorted(media.iterdir()):
        shown = program("show", path.name, "--json").json
        judgement, explained = shown["judgements"][-1], shown["explanation"]
        assert judgement["verdict"] in ("block", "review") and shown["unexplained"] is None
        hits = [(reason["rule"], hit) for reason in judgement["reasons"] for hit in reason["factors"]]
        assert [(rule, hit["factor"]) for rule, hit in hits] == [
            (r["rule"], r["factor"]) for r in explained["rests_on"]
        ]
        for (_, hit), rests in zip(hits, explained["rests_on"], strict=True):
            assert hit["frame"] in {look["frame"] for look in explained["frames"]}
            if hit["signal"] == "nsfw.open_nsfw":
                assert rests["finding"] is None and "as a whole" in rests["words"]
                continue
            found = explained["findings"][rests["finding"]]
            assert found["frame"] == hit["frame"] and found["what"] == "face" and found["size_px"] > 0
            assert found["signals"][hit["signal"]] == pytest.approx(hit["value"], abs=1e-4)
            assert f"face, {found['size_px']} px, certain {found['score']:.2f}" in rests["words"]
            if hit["signal"] == "face.young":
                assert found["ages"] and "age models: " in rests["words"]
            regions += 1
    text = re.sub(r"\n +", " ", program("show", path.name).out)
    assert all(f": {rests['words']}" in text for rests in explained["rests_on"])
    assert regions >= 5, "no face was found: this shows nothing"


@pytest.mark.long
def test_show_says_where_nothing_is_on_record(tmp_path: Path) -> None:
    """Plainly clear, or condemned later from the scores of what had been: never a silence that reads like nothing."""
    media = tmp_path / "media"
    media.mkdir()
    (media / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    policy = tmp_path / "policy.toml"
    policy.write_text(FACES)
    program("scan", str(media), "--dry-run", "--policy", str(policy))
    assert program("show", "coffee.jpg", "--json").json["unexplained"].startswith("plainly clear")
    assert "plainly clear" in program("show", "coffee.jpg").out
    policy.write_text(FACES.replace('label = "nsfw"', 'verdict = "review"').replace("0.9", "0.0000001"))
    program("scan", str(media), "--dry-run", "--policy", str(policy))
    shown = program("show", "coffee.jpg", "--json").json
    assert shown["judgements"][-1]["verdict"] == "review" and shown["explanation"] is None
    assert "recheck all" in shown["unexplained"]
    assert "recheck all" in program("show", "coffee.jpg").out
    program("scan", str(media), "--dry-run", "--policy", str(policy), "--recheck", "all")
    again = program("show", "coffee.jpg", "--json").json
    assert again["explanation"]["rests_on"][0]["words"] == "the picture as a whole; no single region"
    assert program("ledger", "verify").code == 0
