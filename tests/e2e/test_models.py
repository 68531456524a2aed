"""`models` from outside: a hub on loopback, the committed test model, drawn pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support import stand_in
from support.corpus import shapes
from support.program import check_one_line_error, digests, program
from support.servers.hub import hub_server
from support.terminal import on_terminal

NAME = stand_in.MODEL_NAME


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models directory that has the test model on record."""
    directory = tmp_path / "models"
    done = program("models", "import", str(stand_in.MODEL), "--model-dir", str(directory))
    assert done.code == 0 and done.out == f"{NAME}: in {directory / NAME}\n", done
    return directory


@pytest.fixture
def config(tmp_path: Path, models: Path) -> str:
    """A configuration with that directory, the stand-in policy and a store of drawn pictures."""
    store = tmp_path / "store"
    store.mkdir()
    for what in shapes.held_out(130, 40_000_000):
        (store / f"{what.seed}.png").write_bytes(shapes.png_bytes(what, 80))
    path = stand_in.write_config(tmp_path, store)
    path.write_text(path.read_text().replace(str(stand_in.MODEL.parent), str(models)))
    return str(path)


@pytest.mark.long
def test_fetch_then_list_then_verify(tmp_path: Path) -> None:
    directory = tmp_path / "models"
    with hub_server() as hub:
        commit = hub.add(f"immich-app/{NAME}", stand_in.MODEL).find("main")
        where = ("--hub", hub.endpoint, "--model-dir", str(directory))
        refused = program("models", "fetch", NAME, *where)
        check_one_line_error(refused, 2, str(commit), "no digest is on record", "--trust-first")
        assert refused.out.count("the hub states ") == 6 and not (directory / NAME).exists()
        done = program("models", "fetch", NAME, "--trust-first", *where)
        assert done.code == 0, done
        for file, sha256 in json.loads((directory / "models.lock").read_text())["models"][NAME]["files"].items():
            assert f"recorded sha256 {sha256}  {file}\n" in done.out
        assert f"6 files from {hub.endpoint}/immich-app/{NAME} at {str(commit)[:12]}" in done.out and done.err == ""
        assert "already here, every byte as recorded" in program("models", "fetch", NAME, *where).out
        unknown = program("models", "fetch", "nobody/nothing", *where)
        check_one_line_error(unknown, 2, "nobody/nothing", "no such model", "models list")
    listed = program("models", "list", "--model-dir", str(directory), "--json").json
    (row,) = listed["models"]
    assert (row["name"], row["pixels"], row["variants"], row["wrong"]) == (NAME, 64, {}, "")
    assert "ViT-L-14__openai" in {known["name"] for known in listed["known"]}
    verified = program("models", "verify", "--model-dir", str(directory))
    assert verified.code == 0
    assert verified.out.startswith(f"ok    {NAME}: 6 files as recorded; fp32 runs (")


@pytest.mark.long
def test_fetch_without_a_name_offers_the_configured_model_and_asks(tmp_path: Path) -> None:
    """Nobody fetches 1.7 GB by a slip: it is said what that costs and adds; without a yes nothing is fetched."""
    directory = tmp_path / "models"
    where = ("--model-dir", str(directory))
    with hub_server() as hub:
        hub.add("immich-app/ViT-L-14__openai", stand_in.MODEL)
        bare = ("models", "fetch", "--hub", hub.endpoint, *where)
        check_one_line_error(program(*bare), 2, "ViT-L-14__openai (1,710 MB)", "nobody can be asked", "--yes")
        no = on_terminal(*bare, answers=(("[y/N]", "n"),))
        assert no.code == 2 and "nothing was done" in no.out and not hub.seen and not directory.exists()
        offer = no.out[: no.out.index("[y/N]")]
        assert "1,710 MB" in offer and "estimated" in offer and "162 GFLOP" in offer and hub.endpoint in offer
        # The rules that need it are those of the policy in force, and no other ones.
        assert "minor in a sexual picture, by clip" in offer and "adult content" not in offer
        assert "a further opinion on: sexual" in offer and "--trust-first" in offer
        assert max(map(len, offer.splitlines()[:-1])) <= 90
        # A yes is no trust: the digests are shown, and nothing comes.
        yes = program(*bare, "--yes")
        assert yes.code == 2 and "estimated" in yes.out and yes.out.count("the hub states ") == 6
        assert "no digest is on record" in yes.err and not (directory / "ViT-L-14__openai").exists()
        done = program(*bare, "--yes", "--trust-first")
        assert done.code == 0 and done.out.count("recorded sha256") == 6
        assert done.out.splitlines()[-1].endswith('detectors = ["embedded", "clip"]')
        # What is here already is not offered anew.
        again = program(*bare)
        assert again.code == 0 and "already here" in again.out and "estimated" not in again.out


@pytest.mark.long
def test_an_offer_claims_nothing_that_is_not_known(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[clip]\nmodel = "someone/their-model"\nmodel_dir = "{tmp_path}/models"\n')
    with hub_server() as hub:
        done = program("models", "fetch", "--yes", "--hub", hub.endpoint, "--config", str(config))
    assert done.code == 2 and "someone/their-model" in done.err
    assert done.out.count("not known before") == 2 and "GFLOP" not in done.out and " MB" not in done.out


@pytest.mark.long
def test_an_altered_model_is_refused_everywhere(models: Path, config: str) -> None:
    graph = models / NAME / "visual/model.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    verified = program("models", "verify", NAME, "--config", config)
    assert verified.code == 2 and "WRONG" in verified.out and "visual/model.onnx is missing or altered" in verified.out
    check_one_line_error(program("scan", "--dry-run", "--config", config), 2, "visual/model.onnx", "altered", "fetch")
    check_one_line_error(program("models", "optimize", "--config", config), 2, "altered")


@pytest.mark.long
@pytest.mark.parametrize("missing", ["config.json", "textual/tokenizer.json", "visual/model.onnx"])
def test_a_model_that_lacks_a_file(missing: str, models: Path, config: str) -> None:
    (models / NAME / missing).unlink()
    assert program("models", "verify", "--config", config).code == 2
    check_one_line_error(program("scan", "--dry-run", "--config", config), 2, NAME, missing)


@pytest.mark.long
def test_a_folder_by_hand_is_said_to_be_without_record(tmp_path: Path) -> None:
    shutil.copytree(stand_in.MODEL, tmp_path / "models/by-hand")
    where = ("--model-dir", str(tmp_path / "models"))
    assert "not on record" in program("models", "list", *where).out
    assert "NOT on record" in program("models", "verify", *where).out
    assert program("models", "import", str(tmp_path / "models/by-hand"), *where).code == 0
    assert "6 files as recorded" in program("models", "verify", *where).out


@pytest.mark.long
def test_optimize_compares_on_the_operators_pictures(models: Path, config: str) -> None:
    before = digests(models / NAME)
    assert program("models", "optimize", "--config", config, "--sample", "120").code == 0
    variants = json.loads((models / NAME / "variants.json").read_text())
    (name,) = variants  # int8w where OpenVINO is installed, else int8
    entry = variants[name]
    assert name in ("int8", "int8w") and entry["agrees"] is True
    assert entry["agreement"]["pictures"] == 120 and entry["agreement"]["flips"] == 0
    assert entry["agreement"]["cosine_mean"] > 0.999
    now = digests(models / NAME)
    assert {f for f in now if f not in before} == {"variants.json", entry["file"]}
    assert {f: now[f] for f in before} == before
    assert program("models", "verify", "--config", config).code == 0
    # What was compared is what then runs.
    done = program("scan", "--dry-run", "--config", config, "--json")
    assert done.code == 0 and f"{NAME} {name} sha256:" in json.dumps(done.json["detectors"])
    # An altered variant is refused as the original would be.
    (models / NAME / entry["file"]).write_bytes(b"other")
    check_one_line_error(program("scan", "--dry-run", "--config", config), 2, "altered", "models optimize")


@pytest.mark.long
def test_too_few_pictures_are_no_proof(models: Path, config: str) -> None:
    done = program("models", "optimize", "--config", config, "--sample", "20")
    assert done.code == 0 and "20 pictures are too few" in done.out
    assert not any(v["agrees"] for v in json.loads((models / NAME / "variants.json").read_text()).values())


def test_optimize_without_a_store_says_so(models: Path) -> None:
    done = program("models", "optimize", NAME, "--model-dir", str(models))
    assert done.code == 0 and "Not compared, as there is no store: give --pictures." in done.out


@pytest.mark.long
def test_optimize_over_a_store_without_pictures(models: Path, config: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no picture")
    done = program("models", "optimize", "--config", config, "--pictures", str(empty))
    assert done.code == 2 and "there is no picture in it" in done.err
    assert not any(v["agrees"] for v in json.loads((models / NAME / "variants.json").read_text()).values())


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("optimize", "--precision", "int4"), ("int4", "use int8 or bf16")),
        (("optimize", "--precision", "fp16", "--device", "cpu"), ("fp16", "not for cpu")),
        (("optimize", "nothing-here"), ("nothing-here", "no such folder", "models fetch")),
        (("optimize", "../../etc/passwd"), ("no such folder",)),
        (("import", "no/such/place"), ("no/such/place", "no such folder")),
        (("fetch", "x", "--hub", "ftp://example.org"), ("not an http address",)),
        (("fetch", "a b"), ("not a model's name",)),
        (("export", "ViT-L-14"), ("names no weights", "--weights FILE")),
        (("verify", "--model-dir", "no/such/place"), ("there is no model in",)),
    ],
)
def test_bad_input_gets_one_line(arguments: tuple[str, ...], words: tuple[str, ...], config: str) -> None:
    check_one_line_error(program("models", *arguments, "--config", config), 2, *words)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    done = program("models", "import", str(stand_in.MODEL), "--model-dir", str(blocked / "models"))
    check_one_line_error(done, 2, "not a directory")
