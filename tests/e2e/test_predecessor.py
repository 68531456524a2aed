"""The predecessor's names: its script, its variables, its database."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from fedi_safety.cli.predecessor.commands import remote_url
from support.corpus.photos import jpeg_bytes
from support.program import FACES, check_one_line_error, command, digests, program
from support.servers.gate import GateServer
from support.servers.pictrs import free_port
from support.servers.safety import PredecessorWorker, pictrs_safety

SCRIPT = Path(__file__).parent.parent.parent / "fedi_safety_local_storage.py"


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "portrait.jpg").write_bytes(jpeg_bytes("astronaut"))
    (folder / "coffee.jpg").write_bytes(jpeg_bytes("coffee"))
    (folder / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
    (folder / "export.csv").write_text("a,b\n")
    return folder


@pytest.fixture
def old_env(media: Path, empty_home: Path) -> None:
    """A `.env` in the working directory, as the predecessor wanted it, and a policy that condemns faces."""
    policy = media.parent / "faces.toml"
    policy.write_text(FACES)
    (empty_home / ".env").write_text(
        f'PICTRS_FILES_DIRECTORY="{media}"\nUSE_NEW_SAFETY=true\nFEDI_SAFETY_POLICY={policy}\nUNRELATED=1\n'
    )


@pytest.mark.long
@pytest.mark.usefixtures("old_env")
def test_the_old_script_name_and_options(media: Path) -> None:
    before = digests(media)

    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, env=dict(os.environ)
        )

    dry = script("--all", "--dry_run", "-t", "2", "--skip_unreadable")
    assert dry.returncode == 1, dry  # the clip and the table have no verdict
    assert "has no effect" in dry.stderr
    assert digests(media) == before
    real = script("--all")
    assert real.returncode == 1, real
    # What the predecessor would have deleted as unreadable is still there.
    assert set(before) - set(digests(media)) == {"portrait.jpg"}


@pytest.mark.long
@pytest.mark.usefixtures("old_env")
def test_without_all_it_runs_until_stopped_and_misses_nothing(media: Path) -> None:
    os.utime(media / "portrait.jpg", (1, 1))
    daemon = subprocess.Popen(
        command("fedi_safety_local_storage", "-m", "5", "--dry_run", "--skip_unreadable"),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while program("list", "--json").out.count("\n") < 4:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        daemon.send_signal(signal.SIGTERM)
        _, err = daemon.communicate(timeout=30)
    finally:
        daemon.kill()
    assert daemon.returncode in (0, 130), err
    assert "has no effect" in err and "watching" in err
    keys = {row["key"] for row in program("list", "--json").lines}
    assert keys == {"portrait.jpg", "coffee.jpg", "clip.mp4", "export.csv"}
    assert (media / "portrait.jpg").exists()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["fedi_safety_object_storage", "fedi_safety_remote_storage", "lemmy_safety_pictrs"])
def test_the_other_script_names_say_what_they_need(name: str, empty_home: Path) -> None:
    needed = {
        "fedi_safety_object_storage": "OBJECT_STORAGE_ENDPOINT",
        "fedi_safety_remote_storage": "SSH_HOSTNAME",
        "lemmy_safety_pictrs": "PICTRS_SAFETY_URL",
    }[name]
    options = ("-t", "1") if name == "lemmy_safety_pictrs" else ("--all", "-t", "1")
    done = program(name, *options)
    check_one_line_error(done, 2, needed)
    assert ("name a gate to `" if "pictrs" in name else "name a store to") in done.err
    script = SCRIPT.with_name(f"{name}.py")
    started = subprocess.run([sys.executable, str(script), *options[-2:]], capture_output=True, text=True, check=False)
    assert started.returncode == 2 and needed in started.stderr


@pytest.mark.long
def test_its_worker_serves_a_pictrs_safety_as_before(empty_home: Path) -> None:
    (empty_home / "faces.toml").write_text(FACES)
    with pictrs_safety() as gate:
        (empty_home / ".env").write_text(
            f"PICTRS_SAFETY_URL={gate.url}\nPICTRS_SAFETY_APIKEY='{gate.key}'\nFEDI_SAFETY_POLICY=faces.toml\n"
        )
        script = SCRIPT.with_name("lemmy_safety_pictrs.py")
        worker = subprocess.Popen([sys.executable, str(script), "-t", "2"], stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + 60
            while gate.pops < 3:
                assert time.monotonic() < deadline and worker.poll() is None
                time.sleep(0.1)

            def scan(data: bytes) -> tuple[int, str]:
                headers = {"Content-Type": "image/jpeg"}
                url = f"{gate.url}/api/v1/scan/IPADDR"
                answer = httpx.post(url, content=iter([data]), headers=headers, timeout=60, trust_env=False)
                return answer.status_code, answer.json()["message"]

            assert scan(jpeg_bytes("astronaut")) == (406, "Potential CSAM Image detected")
            assert scan(jpeg_bytes("coffee")) == (200, "Image OK")
            assert {type(row.is_csam) for row in gate.rows.values()} == {bool}
            worker.send_signal(signal.SIGTERM)
            _, err = worker.communicate(timeout=30)
        finally:
            worker.kill()
    assert worker.returncode == 0, err
    assert "Traceback" not in err and gate.key not in err


# As lemmy-ansible starts pictrs-safety, and as pict-rs and a worker then speak to it.
DEPLOYED = {
    "FEDIVERSE_SAFETY_WORKER_AUTH": "abcdefghij12345",
    "FEDIVERSE_SAFETY_IMGDIR": "/tmp/images",
    "USE_SQLITE": "0",
    "POSTGRES_URI": "postgresql://user:a-secret@127.0.0.1/pictrsafety",
    "KNOWN_PICTRS_IDS": '["__WELCOME_IN__"]',
    "SCAN_BYPASS_THRESHOLD": "10",
    "MISSING_WORKER_THRESHOLD": "5",
}


@pytest.mark.long
def test_serve_takes_the_place_of_pictrs_safety(empty_home: Path) -> None:
    """Its options, its variables, its callers by address and by id, and an unmodified worker of its own kind."""
    (empty_home / "faces.toml").write_text(FACES)
    port = free_port()
    options = {**DEPLOYED, "FEDI_SAFETY_POLICY": str(empty_home / "faces.toml")}
    gate = GateServer(("serve", "-i", "-p", str(port), "--no-engine"), empty_home, options, port=port)
    gate.environment = {**options, "FEDI_SAFETY_LEDGER": gate.ledger}
    try:
        gate.start()
        gate.said("POSTGRES_URI is not used")
        gate.ready("no_worker")
        assert "http://0.0.0.0:" in gate.log and "a-secret" not in gate.log
        time.sleep(5.1)
        stale = gate.send(jpeg_bytes("coffee"))
        assert (stale.status_code, stale.json()["code"]) == (200, "no_worker")  # as it said "Worker Stale"
        assert gate.send(jpeg_bytes("coffee"), token="__WELCOME_IN__").status_code == 200
        unknown = gate.send(jpeg_bytes("coffee"), token="somebody")
        assert unknown.status_code == 401
        assert unknown.json()["message"] == "You are not authorized to use this service"
        # What pictrs-safety let pass, because it believed anybody's word about addresses.
        forged = {"X-Forwarded-For": "10.0.0.1", "Content-Type": "image/jpeg"}
        url = f"{gate.url}/api/v1/scan/IPADDR"
        assert gate.http.post(url, content=jpeg_bytes("coffee"), headers=forged).status_code == 401

        seen: list[tuple[int, int]] = []

        def is_csam(image: Image.Image) -> bool:
            seen.append(image.size)
            return image.width < image.height

        with PredecessorWorker(gate.url, DEPLOYED["FEDIVERSE_SAFETY_WORKER_AUTH"], is_csam) as worker:
            gate.ready()
            tall = Image.open(BytesIO(jpeg_bytes("rocket"))).rotate(90, expand=True)
            for picture in (tall, tall.rotate(90, expand=True)):
                buffer = BytesIO()
                picture.save(buffer, "PNG")
                answer = gate.send(buffer.getvalue(), "image/png")
                assert answer.status_code == (406 if picture.width < picture.height else 200), answer.text
        assert len(seen) == 2 and [status for _, _, status in worker.said] == [201, 201]
        assert gate.stop() == 0
    finally:
        gate.end()
        gate.http.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-l", "203.0.113.1"), "203.0.113.1"),
        (("--host", "nowhere.invalid"), "nowhere.invalid"),
        (("-i",), "without any authentication"),
        (("-p", "0"), "port"),
        (("--no-engine",), "nobody would judge"),
    ],
)
def test_a_gate_that_cannot_serve_says_why_in_one_line(options: tuple[str, ...], words: str) -> None:
    env = {"FEDI_SAFETY_GATE__TOKENS": '{"a": "b"}'} if options[0] in ("-l", "--host") else {}
    check_one_line_error(program("serve", *options, env=env), 2, words)


def test_the_remote_url_is_made_of_the_old_variables() -> None:
    variables = {"SSH_HOSTNAME": "media.example", "SSH_PORT": "2222", "SSH_USERNAME": "me too"}
    assert (
        remote_url(variables | {"PICTRS_FILES_DIRECTORY": "/srv/a b"}) == "sftp://me%20too@media.example:2222/srv/a%20b"
    )
    old = {"SSH_HOSTNAME": "::1", "SSH_PICTRS_FILES_DIRECTORY": "/srv"}
    assert remote_url(old) == "sftp://[::1]:22/srv"


@pytest.mark.long
@pytest.mark.usefixtures("old_env")
def test_its_database_becomes_history(media: Path, tmp_path: Path) -> None:
    path = tmp_path / "lemmy_safety.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE images (id INTEGER PRIMARY KEY, filename VARCHAR UNIQUE,"
            " nsfw BOOLEAN, csam BOOLEAN, created DATETIME)"
        )
        connection.executemany(
            "INSERT INTO images (filename, nsfw, csam, created) VALUES (?, ?, ?, '2024-01-02 03:04:05.000000')",
            [("gone/condemned.jpg", 1, 1), (str(media / "coffee.jpg"), 0, 0), ("failed.jpg", None, None)],
        )
    connection.close()
    done = program("import-ledger", "--json", env={"SQLITE_FILENAME": str(path)})
    assert done.code == 0, done
    assert (done.json["condemned"], done.json["to_judge"], done.json["failures"]) == (1, 1, 1)
    (row,) = program("list", "--state", "history", "--json").lines
    assert (row["key"], row["verdict"]) == ("gone/condemned.jpg", "block")
    assert "imported" in row["labels"]
    assert program("import-ledger", str(path), "--json").json["already_known"] == 1
    scanned = program("scan", "--dry-run", "--json").json
    assert scanned["judged"] == 2  # the clean file is judged again
    trusted = tmp_path / "other-ledger.db"
    program("import-ledger", str(path), "--trust", "--ledger", str(trusted))
    scanned = program("scan", "--dry-run", "--json", "--ledger", str(trusted)).json
    assert (scanned["judged"], scanned["already_judged"]) == (1, 1)


def test_a_directory_that_is_not_there_names_the_variable_s_value(empty_home: Path) -> None:
    (empty_home / ".env").write_text("PICTRS_FILES_DIRECTORY=/no/such/place\n")
    check_one_line_error(program("fedi_safety_local_storage", "--all"), 2, "/no/such/place")
