"""Who is let in and which server is believed: keys of every type, the agent, known_hosts. A real sshd and ssh-agent."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.config.schema import Settings, Ssh
from fedi_safety.core.errors import StoreError, StoreUsageError
from fedi_safety.stores import open_store
from fedi_safety.stores.sftp.connections import Waits
from fedi_safety.stores.sftp.store import SftpStore, open_sftp
from fedi_safety.stores.sftp.trust import read_url
from support.needs import needs
from support.servers import sshd
from support.servers.sshd import Agent, Sshd

SECRET = "correct horse battery"


@pytest.fixture(scope="module")
@needs("sftp")
def server() -> Iterator[Sshd]:
    base = sshd.new_base()
    made = Sshd(base)
    made.trust()
    made.start()
    yield made
    made.stop()
    shutil.rmtree(base)


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
@needs("sftp")
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    started = Agent(tmp_path)
    monkeypatch.setenv("SSH_AUTH_SOCK", started.socket)
    yield started
    started.stop()


def access(server: Sshd, **more: object) -> Ssh:
    return Ssh.model_validate({"known_hosts": str(server.known_hosts), **more})


def opens(server: Sshd, ssh: Ssh) -> bool:
    store = open_sftp(server.url, ssh)
    listed = list(store.list())
    store.close()
    return listed == []


def refused(url: str, ssh: Ssh, match: str) -> StoreError:
    with pytest.raises(StoreError, match=match) as caught:
        open_store(url, Settings(ssh=ssh))
    line = caught.value.line()
    assert "\n" not in line
    assert SECRET not in line
    return caught.value


# --- keys


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_any_key_type_plain_encrypted_and_from_the_agent(server: Sshd, agent: Agent, kind: str) -> None:
    plain = server.add_key(f"plain_{kind}", kind)
    assert opens(server, access(server, identity_file=str(plain)))
    locked = server.add_key(f"locked_{kind}", kind, passphrase=SECRET)
    assert opens(server, access(server, identity_file=str(locked), passphrase=SECRET))
    agent.add(locked, SECRET)
    assert opens(server, access(server))
    # The named key is locked here, but the agent holds it.
    assert opens(server, access(server, identity_file=str(locked)))


def test_keys_in_the_home_directory_are_found(server: Sshd, empty_home: Path) -> None:
    home = empty_home / ".ssh"
    home.mkdir()
    shutil.copy(server.identity, home / "id_ed25519")
    assert opens(server, access(server))
    locked = server.add_key("locked_default", "ecdsa", passphrase=SECRET)
    (home / "id_ed25519").unlink()
    shutil.copy(locked, home / "id_ecdsa")
    error = refused(server.url, access(server), "no key to log in with")
    assert "id_ecdsa was left out: the key is encrypted and no passphrase is configured" in error.line()
    assert "ssh-add" in error.remedy
    assert "FEDI_SAFETY_SSH__PASSPHRASE" in error.remedy
    assert opens(server, access(server, passphrase=SECRET))


def test_an_encrypted_key_without_a_passphrase_asks_nobody(server: Sshd, agent: Agent) -> None:
    locked = server.add_key("locked_alone", "ed25519", passphrase=SECRET)
    ssh = access(server, identity_file=str(locked))
    with_agent = refused(server.url, ssh, "encrypted")
    assert "no fitting key in the agent" in with_agent.line()
    agent.stop()
    refused(server.url, ssh, "no answer from the agent")
    assert with_agent.exit_code == 2


def test_a_wrong_passphrase_or_file_is_one_clear_line(server: Sshd, tmp_path: Path) -> None:
    locked = server.add_key("locked_wrong", "ed25519", passphrase=SECRET)
    error = refused(server.url, access(server, identity_file=str(locked), passphrase="wrong"), "does not open the key")
    assert "FEDI_SAFETY_SSH__PASSPHRASE" in error.remedy
    assert "encrypted and no passphrase" in refused(server.url, access(server, identity_file=str(locked)), "key").line()
    refused(server.url, access(server, identity_file=str(tmp_path / "none")), "No such file")
    (tmp_path / "junk").write_text("junk")
    refused(server.url, access(server, identity_file=str(tmp_path / "junk")), "cannot be used")


def test_a_refused_login_names_the_keys_that_were_tried(server: Sshd, agent: Agent) -> None:
    stranger = server.add_key("stranger", "ed25519", authorize=False)
    print_of = subprocess.run(
        [sshd.find("ssh-keygen"), "-lf", stranger], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    error = refused(server.url, access(server, identity_file=str(stranger)), "was refused")
    assert isinstance(error, StoreUsageError)
    assert f"{print_of} ({stranger})" in error.line()
    assert "authorized_keys" in error.remedy
    agent.add(stranger)
    error = refused(server.url, access(server), "was refused")
    assert f"{print_of} (agent)" in error.line()


def test_too_many_keys_in_the_agent_say_what_to_do(server: Sshd, agent: Agent) -> None:
    for i in range(8):
        agent.add(server.add_key(f"many_{i}", "ed25519", authorize=False))
    error = refused(server.url, access(server), "too many keys|was refused")
    assert "ssh.identity_file" in error.remedy


# --- host keys


def test_an_unknown_host_key_is_refused_with_the_command_that_adds_it(server: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known hosts"
    ssh = Ssh.model_validate({"known_hosts": str(known), "identity_file": str(server.identity)})
    error = refused(server.url, ssh, "host key is not known")
    assert isinstance(error, StoreUsageError)
    shown = subprocess.run(
        [sshd.find("ssh-keygen"), "-lf", server.home / "host_key.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert shown in error.line()
    assert not known.exists()  # nothing is accepted silently
    command = error.remedy[error.remedy.index("ssh-keyscan") :]
    assert command.startswith(f"ssh-keyscan -p {server.port} 127.0.0.1 >> ")
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert opens(server, ssh)


def test_the_default_known_hosts_is_in_the_home_directory(server: Sshd, empty_home: Path) -> None:
    ssh = Ssh.model_validate({"identity_file": str(server.identity)})
    error = refused(server.url, ssh, "host key is not known")
    command = error.remedy[error.remedy.index("mkdir") :]
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert (empty_home / ".ssh/known_hosts").exists()
    assert opens(server, ssh)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_changed_host_key_is_refused_with_the_danger_and_the_command(server: Sshd, kind: str) -> None:
    ssh = access(server, identity_file=str(server.identity))
    before = server.known_hosts.read_text()
    server.new_host_key(kind)
    server.restart()
    error = refused(server.url, ssh, "THE HOST KEY HAS CHANGED")
    assert isinstance(error, StoreUsageError)
    assert "someone may be standing between" in error.line()
    assert " or " not in error.cause, "one key is expected, and named once"
    assert server.known_hosts.read_text() == before
    command = error.remedy[error.remedy.index("ssh-keygen") :]
    assert re.match(rf"ssh-keygen -R '\[127\.0\.0\.1\]:{server.port}' -f ", command)
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert opens(server, ssh)
    server.new_host_key()
    server.restart()
    server.trust()


def test_hashed_and_revoked_entries_are_understood(server: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    shutil.copy(server.known_hosts, known)
    ssh = Ssh.model_validate({"known_hosts": str(known), "identity_file": str(server.identity)})
    subprocess.run([sshd.find("ssh-keygen"), "-H", "-f", known], check=True, capture_output=True)
    assert known.read_text().startswith("|1|")
    assert opens(server, ssh)
    known.write_text("@revoked " + server.known_hosts.read_text())
    refused(server.url, ssh, "key is revoked")
    known.write_text("one-word-only\n")
    refused(server.url, ssh, "known_hosts")


def test_the_key_that_is_known_is_asked_for_among_several(server: Sshd, tmp_path: Path) -> None:
    subprocess.run([sshd.find("ssh-keygen"), "-q", "-t", "rsa", "-N", "", "-f", server.home / "second_key"], check=True)
    server.extra = [f"HostKey {server.home}/second_key"]
    server.restart()
    kind, key, *_ = (server.home / "second_key.pub").read_text().split()
    for line in (f"[127.0.0.1]:{server.port} {kind} {key}", server.known_hosts.read_text()):
        known = tmp_path / "known_hosts"
        known.write_text(line)
        ssh = Ssh.model_validate({"known_hosts": str(known), "identity_file": str(server.identity)})
        assert opens(server, ssh)


# --- reaching the server


def test_an_unreachable_server_is_one_line_and_exit_3(server: Sshd) -> None:
    ssh = access(server, identity_file=str(server.identity))
    error = refused(f"sftp://127.0.0.1:{sshd.free_port()}/x", ssh, "nothing listens on port")
    assert not isinstance(error, StoreUsageError)
    assert error.exit_code == 3
    assert refused("sftp://no-such-host.invalid/x", ssh, "no host of this name").exit_code == 3


def test_a_server_that_says_nothing_is_given_up(server: Sshd) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        place = read_url(f"sftp://127.0.0.1:{mute.getsockname()[1]}/x")
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"no answer within 0\.5 s"):
            SftpStore(place, access(server, identity_file=str(server.identity)), waits=Waits(connect_s=0.5))
        assert time.monotonic() - started < 20


def test_something_that_is_no_ssh_server_is_one_line(server: Sshd) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        def answer() -> None:
            with other.accept()[0] as client:
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        import threading

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"sftp://127.0.0.1:{other.getsockname()[1]}/x"
        assert refused(url, access(server, identity_file=str(server.identity)), "127.0.0.1").exit_code == 3
        thread.join()
