"""`fetch` and `import` against a hub on loopback: what arrives, what is refused, what an interruption leaves."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.clients.hub import Hub, HubError, HubUsageError
from fedi_safety.core.errors import ModelError
from fedi_safety.models.fetch import AlteredOnHub, Fetched, NotTrusted, fetch
from fedi_safety.models.folder import file_sha256, is_of_model, open_model_folder
from fedi_safety.models.importing import import_folder
from fedi_safety.models.lock import LOCK, read_lock, refuse_altered
from support.servers.hub import HubServer, Repository, hub_server

pytestmark = pytest.mark.long

NAME = "immich-app/ViT-B-32__openai"


class Watcher:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.total = 0
        self.files: list[str] = []
        self.count = 0

    def begins(self, repository: str, commit: str, total_bytes: int) -> None:
        self.total = total_bytes

    def file(self, path: str) -> None:
        self.files.append(path)

    def bytes(self, count: int) -> None:
        self.count += count


def write_model(folder: Path, seed: int = 0) -> Path:
    """Write a folder that has every file of a model, with noise where the networks would be."""
    noise = random.Random(seed)
    config = {"embed_dim": 8, "vision_cfg": {"image_size": 32}, "text_cfg": {"context_length": 16}}
    contents: dict[str, bytes] = {
        "config.json": json.dumps(config).encode(),
        "visual/model.onnx": noise.randbytes(300_000),
        "visual/model.onnx.data": noise.randbytes(900_000),
        "visual/preprocess_cfg.json": b'{"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1]}',
        "textual/model.onnx": noise.randbytes(200_000),
        "textual/tokenizer.json": b'{"version": "1.0"}',
        "textual/tokenizer_config.json": b'{"pad_token": "x"}',
    }
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def running_hub() -> Iterator[HubServer]:
    with hub_server() as hub:
        yield hub


@pytest.fixture
def server(running_hub: HubServer, tmp_path: Path) -> HubServer:
    """A hub with one model, which also has files that are of no use here."""
    source = write_model(tmp_path / "published")
    for other in (
        "README.md",
        ".gitattributes",
        "visual/model.armnn",
        "visual/fp16/model.armnn",
        "textual/rknpu/x.rknn",
    ):
        (source / other).parent.mkdir(parents=True, exist_ok=True)
        (source / other).write_bytes(b"not wanted")
    running_hub.repositories.clear()
    running_hub.seen.clear()
    running_hub.front.heal()
    running_hub.store.heal()
    running_hub.add(NAME, source)
    return running_hub


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def run(
    server: HubServer,
    models: Path,
    name: str = "ViT-B-32__openai",
    revision: str | None = None,
    *,
    trust_first: bool = True,
) -> Fetched:
    hub = Hub(server.endpoint, pause_s=0.01)
    try:
        return fetch(name, models, hub, Watcher(), revision, trust_first=trust_first)
    finally:
        hub.close()


def published(server: HubServer) -> Repository:
    return server.repositories[NAME]


def with_file(server: HubServer, path: str, data: bytes) -> str:
    """Publish another commit, with one file changed."""
    repository = published(server)
    return repository.commit({**repository.commits[str(repository.find("main"))], path: data})


def leftovers(models: Path) -> list[str]:
    """What lies in the models directory beside models and lock."""
    return sorted(p.name for p in models.iterdir() if p.name.startswith(".") and p.name != ".models.busy")


# --- what arrives


def test_a_model_arrives_whole_and_is_recorded(server: HubServer, models: Path, tmp_path: Path) -> None:
    hub, watcher = Hub(server.endpoint), Watcher()
    got = fetch("ViT-B-32__openai", models, hub, watcher, trust_first=True)
    hub.close()
    there = sorted(p.relative_to(got.path).as_posix() for p in got.path.rglob("*") if p.is_file())
    assert there == [
        "config.json",
        "textual/model.onnx",
        "textual/tokenizer.json",
        "textual/tokenizer_config.json",
        "visual/model.onnx",
        "visual/model.onnx.data",
        "visual/preprocess_cfg.json",
    ]
    assert all((got.path / f).read_bytes() == (tmp_path / "published" / f).read_bytes() for f in there)
    assert watcher.files == there and watcher.count == watcher.total == sum(
        (got.path / f).stat().st_size for f in there
    )
    entry = read_lock(models)["ViT-B-32__openai"]
    assert entry.source == f"{server.endpoint}/{NAME}" and entry.revision == published(server).find("main")
    assert dict(entry.files) == {f: file_sha256(got.path / f) for f in there}
    assert leftovers(models) == []
    refuse_altered(open_model_folder(got.path))


def test_any_owner_and_name_is_taken(server: HubServer, models: Path) -> None:
    server.repositories["someone/Their.Model-1"] = published(server)
    assert run(server, models, "someone/Their.Model-1").path == models / "Their.Model-1"


def test_a_revision_is_taken_and_kept_to(server: HubServer, models: Path) -> None:
    first = str(published(server).find("main"))
    second = with_file(server, "visual/model.onnx", b"v2" * 5000)
    assert run(server, models, revision=first).revision == first
    again = run(server, models)  # `main` has moved on; the operator has not
    assert (again.revision, again.brought, again.changed) == (first, 0, False)
    moved = run(server, models, revision="main")
    assert (moved.revision, moved.changed) == (second, True)
    assert (moved.path / "visual/model.onnx").read_bytes() == b"v2" * 5000
    assert sum("model.onnx.data" in where for where, _ in server.seen) == 1  # the same in both: fetched once
    refuse_altered(open_model_folder(moved.path))


def test_a_second_fetch_brings_nothing_and_a_lost_file_alone(server: HubServer, models: Path) -> None:
    path = run(server, models).path
    (path / "visual/model.onnx.data").unlink()
    (path / "textual/model.onnx").write_bytes(b"damaged")
    server.seen.clear()
    assert run(server, models).brought >= 2
    stored = [where for where, _ in server.seen if where.startswith("store ")]
    assert len(stored) == 2
    refuse_altered(open_model_folder(path))


def test_variants_made_here_outlive_a_mending_fetch_and_not_a_new_revision(server: HubServer, models: Path) -> None:
    path = run(server, models).path
    (path / "visual/model.int8.onnx").write_bytes(b"made here")
    (path / "variants.json").write_text('{"int8": {"file": "visual/model.int8.onnx", "sha256": "0"}}')
    (path / "config.json").unlink()
    run(server, models)
    assert open_model_folder(path).variants.keys() == {"int8"}
    with_file(server, "visual/model.onnx", b"v2" * 5000)
    run(server, models, revision="main")
    assert not (path / "variants.json").exists() and not (path / "visual/model.int8.onnx").exists()


# --- the token


def test_the_token_goes_to_the_hub_alone(server: HubServer, models: Path) -> None:
    published(server).token = "secret-token"
    with pytest.raises(HubUsageError, match="no such model, or it is not public"):
        run(server, models)
    server.seen.clear()
    hub = Hub(server.endpoint, token="secret-token", pause_s=0.01)
    fetch("ViT-B-32__openai", models, hub, Watcher(), trust_first=True)
    hub.close()
    for where, headers in server.seen:
        assert ("secret-token" in headers.get("authorization", "")) == where.startswith("hub "), where
    assert {h["user-agent"] for _, h in server.seen} == {"fedi-safety"}


# --- interruptions


@pytest.mark.parametrize("fault", ["truncate", "reset in body", "reset", "storm", "too many", "empty error"])
def test_a_download_goes_on_after(fault: str, server: HubServer, models: Path) -> None:
    server.store.spoil(fault, times=2)
    run(server, models)
    refuse_altered(open_model_folder(models / "ViT-B-32__openai"))


def test_a_broken_connection_goes_on_where_it_was(server: HubServer, models: Path) -> None:
    server.store.spoil("truncate", times=1)
    run(server, models)
    ranges = [h["range"] for where, h in server.seen if where.startswith("store ") and "range" in h]
    assert len(ranges) == 1 and ranges[0] != "bytes=0-"


def test_what_an_interrupted_fetch_left_is_gone_on_with(server: HubServer, models: Path) -> None:
    server.store.spoil("truncate", times=1)
    server.store.spoil("reset", times=10)
    with pytest.raises(HubError, match=r"of 200,000 bytes are kept: .*run the command again"):
        run(server, models)
    assert not (models / "ViT-B-32__openai").exists() and not (models / LOCK).exists()
    server.store.heal()
    server.seen.clear()
    run(server, models)
    ranges = [h["range"] for where, h in server.seen if where.startswith("store ") and "range" in h]
    assert len(ranges) == 1
    assert leftovers(models) == []
    refuse_altered(open_model_folder(models / "ViT-B-32__openai"))


def test_a_server_that_ignores_ranges_starts_anew(server: HubServer, models: Path) -> None:
    part = models / f".ViT-B-32__openai.{str(published(server).find('main'))[:12]}.part"
    (part / "textual").mkdir(parents=True)
    (part / "textual/tokenizer.json").write_bytes(b"xx")  # small files come with status 200, whatever was asked
    watcher, hub = Watcher(), Hub(server.endpoint)
    server.front.answer(lambda _: (200, '{"version": "1.0"}'), contains="tokenizer.json")
    fetch("ViT-B-32__openai", models, hub, watcher, trust_first=True)
    hub.close()
    assert watcher.count == watcher.total


# --- what is refused: one line each, nothing left in place


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("html page", "ended early"),
        ("denied", "not for everyone"),
        ("not implemented", "the hub answered 501"),
        ("short length", "ended early|other digest"),
    ],
)
def test_bad_answers_for_a_file(fault: str, said: str, server: HubServer, models: Path) -> None:
    server.store.spoil(fault, times=1 << 30)
    with pytest.raises(HubError, match=said) as caught:
        run(server, models)
    assert "\n" not in caught.value.line()
    assert not (models / "ViT-B-32__openai").exists()


def test_wrong_bytes_are_thrown_away(server: HubServer, models: Path) -> None:
    repository = published(server)
    main = str(repository.find("main"))
    size = len(repository.commits[main]["textual/model.onnx"])
    server.store.answer(lambda _: (200, "x" * size))
    with pytest.raises(HubError, match="other digest"):
        run(server, models)
    assert not list(models.rglob("textual/model.onnx"))


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [
        ("nobody/nothing", None, "no such model, or it is not public"),
        ("ViT-B-32__openai", "v9", "no such revision"),
        ("../../etc", None, "not a model's name"),
        ("a/b/c", None, "not a model's name"),
        ("", None, "not a model's name"),
    ],
)
def test_wrong_names(name: str, revision: str | None, said: str, server: HubServer, models: Path) -> None:
    with pytest.raises((HubUsageError, ModelError), match=said) as caught:
        run(server, models, name, revision)
    assert caught.value.exit_code == 2


def test_a_repository_of_another_layout(server: HubServer, models: Path) -> None:
    server.repositories["openai/clip"] = Repository()
    server.repositories["openai/clip"].commit({"config.json": b"{}", "pytorch_model.bin": b"weights"})
    with pytest.raises(ModelError, match=r"has no .*visual/model\.onnx.*Immich's layout"):
        run(server, models, "openai/clip")


def test_gated_models_say_what_to_do(server: HubServer, models: Path) -> None:
    published(server).gated = True
    with pytest.raises(HubUsageError, match=r"accept its terms on the hub, and set \$HF_TOKEN"):
        run(server, models)


@pytest.mark.parametrize("fault", ["html page", "html error"])
def test_what_is_no_hub(fault: str, server: HubServer, models: Path) -> None:
    server.front.spoil(fault, times=1 << 30)
    with pytest.raises(HubError, match=r"not answer like a model hub|answered 502"):
        run(server, models)


def test_nobody_there(models: Path) -> None:
    hub = Hub("http://127.0.0.1:9", pause_s=0.01)
    with pytest.raises(HubError, match=r"models import") as caught:
        fetch("ViT-B-32__openai", models, hub, Watcher(), trust_first=True)
    hub.close()
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("address", ["", "hub.example", "ftp://hub.example", "https://user:pass@hub.example"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(HubUsageError) as caught:
        Hub(address)
    assert "pass" not in caught.value.line()


@pytest.mark.parametrize("path", ["../../evil", "/etc/passwd", "visual/../../../evil", "visual\\..\\evil", "visual//x"])
def test_paths_that_lead_out_are_refused(path: str, server: HubServer, models: Path, tmp_path: Path) -> None:
    with_file(server, path, b"evil")
    with pytest.raises(HubError, match="not answer like a model hub"):
        run(server, models)
    assert not list(tmp_path.rglob("evil"))


def test_a_disk_that_is_too_small(server: HubServer, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ModelError, match="MB are needed, 0 MB are free"):
        run(server, models)


def test_two_at_once(server: HubServer, models: Path) -> None:
    from fedi_safety.models.lock import only_writer

    with only_writer(models), pytest.raises(ModelError, match="another command changes models"):
        run(server, models)


# --- what is trusted


def test_the_first_fetch_of_a_revision_needs_trust_and_later_ones_are_held_to_it(
    server: HubServer, models: Path
) -> None:
    commit = str(published(server).find("main"))
    with pytest.raises(NotTrusted, match=rf"no digest is on record.*--revision {commit} --trust-first") as caught:
        run(server, models, trust_first=False)
    assert caught.value.exit_code == 2
    assert not any("resolve" in address or address.startswith("store") for address, _ in server.seen)  # nothing came
    assert {file.path for file in caught.value.stated} == {
        p for p in published(server).commits[commit] if is_of_model(p)
    }
    got = run(server, models, revision=commit)
    assert got.first == read_lock(models)["ViT-B-32__openai"].files
    assert run(server, models, trust_first=False).first == {}
    (got.path / "visual/model.onnx").unlink()
    assert run(server, models, trust_first=False).brought  # what is on record may be brought again
    moved = with_file(server, "visual/model.onnx", b"2" * 200_000)
    assert run(server, models, trust_first=False).revision == commit  # a branch that moved on changes nothing
    with pytest.raises(NotTrusted, match=moved):
        run(server, models, revision="main", trust_first=False)
    assert run(server, models, revision="main").changed


@pytest.mark.parametrize("change", ["a file more", "a file less"])
def test_a_revision_s_files_are_those_on_record(server: HubServer, models: Path, change: str) -> None:
    run(server, models)
    files = published(server).commits[str(published(server).find("main"))]
    if change == "a file more":
        files["visual/model.onnx.data2"] = b"x" * 5000
        with pytest.raises(NotTrusted, match="of 1 files"):
            run(server, models, trust_first=False)
    else:
        del files["visual/model.onnx.data"]
        with pytest.raises(AlteredOnHub, match="has no visual/model"):
            run(server, models)


# --- models.lock


def test_altered_files_are_refused_from_then_on(server: HubServer, models: Path) -> None:
    path = run(server, models).path
    for file in ("visual/model.onnx", "visual/model.onnx.data", "textual/tokenizer.json", "config.json"):
        data = (path / file).read_bytes()
        (path / file).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(ModelError, match=rf"{file}: altered: SHA-256 .*fedi-safety models fetch"):
            refuse_altered(open_model_folder(path)) if file != "config.json" else refuse_altered_config(path)
        (path / file).write_bytes(data)
    refuse_altered(open_model_folder(path))


def refuse_altered_config(path: Path) -> None:
    """As `refuse_altered`, for a configuration that is no JSON any more."""
    from dataclasses import replace

    (path / "config.json").write_text('{"embed_dim": 9, "vision_cfg": {}, "text_cfg": {}}')
    refuse_altered(replace(open_model_folder(path)))


def test_a_hub_that_changes_a_commit_is_refused(server: HubServer, models: Path) -> None:
    path = run(server, models).path
    repository = published(server)
    main = str(repository.find("main"))
    for file in ("visual/model.onnx", "textual/tokenizer.json"):  # a large one, a small one
        before = repository.commits[main][file]
        repository.commits[main][file] = before.replace(b"1", b"2").replace(before[:1], b"Z", 1)
        (path / file).unlink()
        with pytest.raises(AlteredOnHub, match="as recorded for this revision") as caught:
            run(server, models)
        assert caught.value.exit_code == 3
        repository.commits[main][file] = before
        run(server, models)


def test_the_same_name_from_elsewhere_is_asked_about(server: HubServer, models: Path) -> None:
    run(server, models)
    server.repositories["someone/ViT-B-32__openai"] = published(server)
    with pytest.raises(ModelError, match=r"already there, from .*give --revision"):
        run(server, models, "someone/ViT-B-32__openai")
    assert run(server, models, "someone/ViT-B-32__openai", "main").changed


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"models": 1}', '{"models": {"x": {}}}', "\x00"])
def test_a_damaged_lock(text: str, server: HubServer, models: Path) -> None:
    run(server, models)
    (models / LOCK).write_text(text)
    with pytest.raises(ModelError, match=r"models\.lock"):
        refuse_altered(open_model_folder(models / "ViT-B-32__openai"))


# --- import


def test_import_copies_and_records(models: Path, tmp_path: Path) -> None:
    source = write_model(tmp_path / "my-model")
    (source / "notes.txt").write_text("not a part of it")
    path = import_folder(source, models)
    assert path == models / "my-model" and not (path / "notes.txt").exists()
    assert (path / "visual/model.onnx.data").read_bytes() == (source / "visual/model.onnx.data").read_bytes()
    refuse_altered(open_model_folder(path))
    assert import_folder(source, models) == path
    write_model(source, seed=2)
    with pytest.raises(ModelError, match="another one of that name is on record; give --replace"):
        import_folder(source, models)
    refuse_altered(open_model_folder(path))
    import_folder(source, models, replace=True)
    assert import_folder(source, models, "second").name == "second"
    refuse_altered(open_model_folder(path))
    assert leftovers(models) == []


def test_a_folder_that_lies_there_is_recorded_in_place(models: Path) -> None:
    source = write_model(models / "by-hand")
    assert import_folder(source, models) == source
    (source / "visual/model.int8.onnx").write_bytes(b"made of it")
    (source / "variants.json").write_text('{"int8": {"file": "visual/model.int8.onnx", "sha256": "0"}}')
    assert import_folder(source, models) == source
    assert open_model_folder(source).variants.keys() == {"int8"}
    (source / "visual/model.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match="altered"):
        refuse_altered(open_model_folder(source))
    with pytest.raises(ModelError, match="give --replace"):
        import_folder(source, models)
    import_folder(source, models, replace=True)
    refuse_altered(open_model_folder(source))
    assert open_model_folder(source).variants == {}  # they were made of other weights


@pytest.mark.parametrize("missing", ["config.json", "visual/model.onnx", "textual/tokenizer.json"])
def test_import_of_half_a_model(missing: str, models: Path, tmp_path: Path) -> None:
    source = write_model(tmp_path / "half")
    (source / missing).unlink()
    with pytest.raises(ModelError, match=f"{missing} missing"):
        import_folder(source, models)
    with pytest.raises(ModelError, match="no such folder"):
        import_folder(tmp_path / "none", models)
    assert not (models / "half").exists()
