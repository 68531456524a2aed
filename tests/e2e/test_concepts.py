"""New concepts over what was scanned before, calibration, and trying a picture: by the program, with the test model."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support import stand_in
from support.corpus import shapes
from support.program import Done, check_one_line_error, digests, program

COUNT = 150
FIRST = 40_000_000


def squares() -> str:
    """The file of the concepts `red` and `square`, in the manner of the stand-in's `red` and `circle`."""
    text = ""
    for concept, one, other in (("red", 0, 1), ("square", 1, 0)):
        meant = {0: "red", 1: "square"}
        lists: dict[bool, list[str]] = {True: [], False: []}
        for things in shapes.descriptions():
            asked = [t for t in things if t[other] == meant[other]] or things
            lists[any(t[one] == meant[one] for t in asked)].append(shapes.describe(things))
        text += f"[concepts.{concept}]\npositive = {json.dumps(lists[True])}\nnegative = {json.dumps(lists[False])}\n"
    return text


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    for what in shapes.held_out(COUNT, FIRST):
        (folder / f"{what.seed}.png").write_bytes(shapes.png_bytes(what, 96))
    return folder


@pytest.fixture
def config(tmp_path: Path, store: Path) -> str:
    path = stand_in.write_config(tmp_path, store, 'keep_embeddings = "float16"')
    (tmp_path / "squares.toml").write_text(squares())
    (tmp_path / "squares-policy.toml").write_text(stand_in.POLICY.replace("circle", "square"))
    return str(path)


def of(kind: str) -> set[str]:
    """The keys of the pictures that have something red of this kind."""
    return {f"{what.seed}.png" for what in shapes.held_out(COUNT, FIRST) if ("red", kind) in what.things}


def blocked(config: str) -> set[str]:
    listed = program("list", "--verdict", "block", "--json", "--config", config)
    return {json.loads(line)["key"] for line in listed.out.splitlines()}


def dry_scan(config: str, *arguments: str) -> Done:
    done = program("scan", "--dry-run", "--json", "--config", config, *arguments)
    assert done.code == 0, done.err
    return done


@pytest.mark.long
def test_a_new_concept_and_policy_are_applied_without_opening_an_object(tmp_path: Path, config: str) -> None:
    assert dry_scan(config).json["judged"] == COUNT
    assert len(blocked(config) ^ of("circle")) <= 3
    new = ("--concepts", str(tmp_path / "squares.toml"), "--policy", str(tmp_path / "squares-policy.toml"))
    preview = program("policy", "preview", new[3], *new[:2], "--json", "--config", config).json
    assert (preview["objects"], preview["undecided"], preview["computed"]) == (COUNT, 0, COUNT)
    assert abs(preview["rules"]["red square"] - len(of("square"))) <= 3
    assert len(blocked(config) ^ of("circle")) <= 3  # a preview changes nothing
    again = dry_scan(config, *new).json
    assert (again["judged"], again["already_judged"], again["frames"], again["bytes"]) == (0, COUNT, 0, 0)
    assert len(blocked(config) ^ of("square")) <= 3 and again["block"] == len(blocked(config))
    assert preview["rules"]["red square"] == again["block"]
    shown = program("show", min(blocked(config)), "--config", config).out
    assert "clip.square" in shown
    assert program("ledger", "verify", "--config", config).code == 0


@pytest.mark.long
def test_without_embeddings_a_new_concept_reads_the_pictures_again(tmp_path: Path, config: str) -> None:
    dry_scan(config, "--keep-embeddings", "no")
    new = ("--concepts", str(tmp_path / "squares.toml"), "--policy", str(tmp_path / "squares-policy.toml"))
    preview = program("policy", "preview", new[3], *new[:2], "--json", "--config", config).json
    assert (preview["undecided"], preview["computed"]) == (COUNT, 0)
    again = dry_scan(config, *new).json
    assert again["judged"] == again["frames"] == COUNT
    assert len(blocked(config) ^ of("square")) <= 3


@pytest.mark.long
@pytest.mark.parametrize("how", ["float16", "int8"])
def test_signals_from_kept_embeddings_are_those_of_a_scan(tmp_path: Path, config: str, how: str) -> None:
    """The same concepts under another name of one: computed from what was kept, and measured on the pictures."""
    renamed = (tmp_path / "concepts.toml").read_text().replace("[concepts.circle]", "[concepts.round]")
    (tmp_path / "renamed.toml").write_text(renamed)
    policy = tmp_path / "round.toml"
    policy.write_text(stand_in.POLICY.replace("clip.circle", "clip.round"))
    before = dry_scan(config, "--keep-embeddings", how).json["block"]
    after = dry_scan(config, "--concepts", str(tmp_path / "renamed.toml"), "--policy", str(policy)).json
    assert after["bytes"] == 0 and abs(after["block"] - before) <= (0 if how == "float16" else 2)


@pytest.mark.long
def test_kept_embeddings_can_be_seen_and_forgotten(config: str) -> None:
    assert program("ledger", "embeddings", "--config", config).code == 2  # there is no ledger yet
    dry_scan(config)
    (kept,) = program("ledger", "embeddings", "--json", "--config", config).json["kept"]
    assert kept["model"].startswith(stand_in.MODEL_NAME) and kept["encoding"] == "float16"
    assert (kept["frames"], kept["bytes"] % (2 * COUNT)) == (COUNT, 0)
    check_one_line_error(program("ledger", "embeddings", "--forget", "--config", config), 2, "not confirmed", "--yes")
    assert program("ledger", "embeddings", "--forget", "--yes", "--config", config).code == 0
    assert "no embeddings are kept" in program("ledger", "embeddings", "--config", config).out


# --- concepts


@pytest.mark.long
def test_trying_a_picture_shows_its_shares_ranked_and_keeps_nothing(tmp_path: Path, config: str, store: Path) -> None:
    circle = store / min(of("circle"))
    program("concepts", "try", str(circle), "--config", config)  # fills the cache of text embeddings
    before = digests(tmp_path)
    done = program("concepts", "try", str(circle), "--config", config)
    assert done.code == 0 and digests(tmp_path) == before
    assert [line.split()[0] for line in done.out.splitlines()] in (
        ["clip.red", "clip.circle"],
        ["clip.circle", "clip.red"],
    )
    found = program("concepts", "try", str(circle), "--json", "--config", config).json
    shares = {each["signal"]: each["share"] for each in found["shares"]}
    assert min(shares.values()) > 0.5 and [s["share"] for s in found["shares"]] == sorted(shares.values(), reverse=True)
    other = store / min(p.name for p in store.iterdir() if p.name not in of("circle"))
    found = program("concepts", "try", str(other), "--json", "--config", config).json
    assert min(each["share"] for each in found["shares"]) < 0.5


@pytest.mark.long
def test_what_cannot_be_tried_is_said_in_one_line(tmp_path: Path, config: str, store: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "half.png").write_bytes(next(store.iterdir()).read_bytes()[:300])
    for name, word in (("notes.txt", "not_media"), ("half.png", "truncated"), ("none.png", "No such file")):
        done = program("concepts", "try", str(tmp_path / name), "--config", config)
        check_one_line_error(done, 2, name, word)
    check_one_line_error(program("concepts", "try", str(store), "--config", config), 2, "media", "Is a directory")
    check_one_line_error(program("concepts", "try", "/dev/zero", "--config", config), 2, "not a regular file")


@pytest.mark.long
def test_concepts_are_listed_and_checked(tmp_path: Path, config: str) -> None:
    listed = program("concepts", "list", "--prompts", "--config", config).out
    assert "clip.red" in listed and "'red circle'" in listed and "  + a red circle" in listed
    (found,) = [
        c for c in program("concepts", "list", "--json", "--config", config).json["concepts"] if "red" in c["signal"]
    ]
    assert "a red circle" in found["positive"] and "a blue circle" in found["negative"]
    checked = program("concepts", "check", str(tmp_path / "squares.toml"), "--config", config).out
    assert "valid" in checked and "names clip.circle" in checked and "no rule" in checked
    bad = tmp_path / "bad.toml"
    bad.write_text("[concepts.x]\npositive = []\ncolour = 1\n")
    check_one_line_error(program("concepts", "check", str(bad), "--config", config), 2, "line 2", "line 3", "'colour'")
    assert program("concepts", "check", "default").code == 0


@pytest.mark.long
def test_bad_concepts_end_every_command_that_needs_them(tmp_path: Path, config: str, store: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[concepts.x]\n")
    for command in (
        ["scan", "--dry-run"],
        ["policy", "check"],
        ["calibrate"],
        ["concepts", "try", str(next(store.iterdir()))],
    ):
        check_one_line_error(program(*command, "--concepts", str(bad), "--config", config), 2, "bad.toml", "line 1")


# --- calibration


@pytest.mark.long
def test_calibrating_shows_what_thresholds_condemn_and_writes_nothing(tmp_path: Path, config: str, store: Path) -> None:
    for key in of("circle"):  # the store is believed clean, and now it is
        (store / key).unlink()
    clean = COUNT - len(of("circle"))
    before = digests(tmp_path)
    done = program("calibrate", "--share", "0.05", "--config", config)
    assert done.code == 0, done.err
    left = {k: v for k, v in digests(tmp_path).items() if "/cache/" not in k}  # text embeddings, no pictures
    assert left == before
    assert f"{clean} scored" in done.out and "rule 'red circle' (block)" in done.out and "in force" in done.out
    found = program("calibrate", "--share", "0.05", "--json", "--config", config).json
    assert (found["drawn"], found["pictures"]) == (clean, clean) and found["rules"][0]["kept"]
    assert found["condemned"]["count"] <= 2 and found["condemned"]["bound"] < 0.07
    assert program("calibrate", "--share", "0.05", "--json", "--config", config).json == found


@pytest.mark.long
def test_a_store_that_is_not_clean_gets_other_thresholds_proposed(tmp_path: Path, config: str) -> None:
    page = tmp_path / "page.html"
    done = program("calibrate", "--sample", "120", "--share", "0.2", "--html", str(page), "--json", "--config", config)
    (rule,) = done.json["rules"]
    assert done.json["drawn"] == 120 and not rule["kept"] and 0.2 < rule["holds"]["share"] < 0.5
    assert len(set(rule["examples"]) - of("circle")) <= 1 and len(rule["examples"]) == 10
    text = page.read_text()
    ElementTree.fromstring(text.split("\n", 1)[1])
    assert "red circle" in text and rule["examples"][0] in text and "<img" not in text and "src=" not in text


@pytest.mark.long
def test_calibrating_what_cannot_be_measured_says_so(tmp_path: Path, config: str, store: Path) -> None:
    done = program("calibrate", "--policy", "balanced", "--config", config)
    check_one_line_error(done, 2, "balanced", "clip.sexual")
    empty = tmp_path / "empty"
    empty.mkdir()
    check_one_line_error(program("calibrate", str(empty), "--config", config), 2, "the store is empty")
    check_one_line_error(program("calibrate", "--share", "1.5", "--config", config), 2, "--share", "between 0 and 1")
    check_one_line_error(program("calibrate", "--html", str(empty), "--config", config), 2, "is a directory")
