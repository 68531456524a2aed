"""The review pages behind Debian's nginx as docs/review.md shows it: TLS, a prefix, and who is believed."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.review_browser import served
from support.reviewing import PASSWORD, Reviewing, reviewing
from support.servers.fronts import front_server, place_for
from support.servers.sshd import free_port

DOCS = Path(__file__).parents[2] / "docs/review.md"
LOCATION, PEOPLE = re.findall(r"```nginx\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
NAME, PROXY = "safety.example", "127.0.0.9"
BEHIND: dict[str, Any] = {"names": [NAME], "trusted_proxies": [f"{PROXY}/32"]}
pytestmark = [pytest.mark.long, pytest.mark.needs("nginx")]


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a key and a certificate of an hour for the name."""
    key = ec.generate_private_key(ec.SECP256R1())
    whose = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(whose).issuer_name(whose).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    places = folder / "key.pem", folder / "certificate.pem"
    form = serialization.PrivateFormat.PKCS8
    places[0].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    places[1].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return places


@contextmanager
def behind(here: Reviewing, folder: Path, more: str = "") -> Iterator[tuple[str, str, ssl.SSLContext]]:
    """The pages behind nginx: their own address, that of nginx with TLS, and whom a browser must trust for it."""
    place = place_for(folder / "nginx")
    key, made = certificate(place)
    with served(here) as root:
        port = free_port()
        location = LOCATION.replace("http://127.0.0.1:14051", root.removesuffix("/review"))
        location = location.rstrip().removesuffix("}") + f"proxy_bind {PROXY};\n{more}\n}}"
        snippet = f"listen 127.0.0.1:{port} ssl; ssl_certificate {made}; ssl_certificate_key {key};\n{location}"
        with front_server("nginx", place, "", snippet):
            yield root, f"https://{NAME}:{port}", ssl.create_default_context(cafile=str(made))


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Close what a test opens."""
    with ExitStack() as stack:
        yield stack


def browser(
    opened: ExitStack, base: str, trusted: ssl.SSLContext, address: str = "127.0.0.1", **more: Any
) -> httpx.Client:
    """A browser that comes from this address, and finds the name here."""
    port = base.rpartition(":")[2]
    transport = httpx.HTTPTransport(verify=trusted, local_address=address)
    client = httpx.Client(base_url=f"https://127.0.0.1:{port}", transport=transport, trust_env=False, **more)
    opened.callback(client.close)
    client.headers["Host"] = NAME
    client.headers["Origin"] = f"https://{NAME}"
    client.event_hooks["request"] = [lambda request: request.extensions.update(sni_hostname=NAME)]
    return client


def test_over_tls_the_cookie_is_secure_and_guesses_count_where_they_come_from(
    tmp_path: Path, opened: ExitStack
) -> None:
    with reviewing(tmp_path, **BEHIND) as here, behind(here, tmp_path) as (_root, base, trusted):
        ada = browser(opened, base, trusted)
        answer = ada.post("/review/login", data={"name": "reviewer", "password": PASSWORD})
        assert (answer.status_code, answer.headers["location"]) == (303, "/review/")
        cookie = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
        assert {"secure", "httponly", "samesite=strict", "path=/review/"} <= cookie
        secret = answer.headers["set-cookie"].partition(";")[0]
        page = ada.get("/review/queue/review", headers={"Cookie": secret})
        assert page.status_code == 200
        assert page.headers["cache-control"] == "no-store"
        assert ada.get("/").status_code == 404, "nginx has other things outside the prefix"
        plain = ada.post("/review/login", data={}, headers={"Origin": f"http://{NAME}"})
        assert plain.status_code == 403, "a page that came in the clear changes nothing"
        wrong = {"name": "reviewer", "password": "x"}
        guesser = browser(opened, base, trusted, "127.0.0.5")
        forged = [{"X-Forwarded-For": f"192.0.2.{number}", "X-Forwarded-Proto": "http"} for number in range(6)]
        tries = [guesser.post("/review/login", data=wrong, headers=each).status_code for each in forged]
        assert tries == [401] * 5 + [429], "whatever it says of itself, it is one"
        elsewhere = browser(opened, base, trusted, "127.0.0.6").post("/review/login", data=wrong)
        assert elsewhere.status_code == 401


def test_the_header_of_an_authenticating_proxy_is_believed_from_its_address_alone(
    tmp_path: Path, opened: ExitStack
) -> None:
    people = tmp_path / "people"
    people.write_text("admin:{PLAIN}open sesame\nstranger:{PLAIN}open sesame\n")
    people.chmod(0o644)
    more = PEOPLE.replace("/etc/nginx/review-people", str(people))
    assert str(people) in more
    with (
        reviewing(tmp_path, {"admin": ["admin"]}, user_header="Remote-User", **BEHIND) as here,
        behind(here, tmp_path, more) as (root, base, trusted),
    ):
        assert browser(opened, base, trusted).get("/review/breaker").status_code == 401
        let_in = browser(opened, base, trusted, auth=("admin", "open sesame"))
        page = let_in.get("/review/breaker")
        assert (page.status_code, ">admin<" in page.text) == (200, True)
        stranger = browser(opened, base, trusted, auth=("stranger", "open sesame"))
        forged = stranger.get("/review/breaker", headers={"Remote-User": "admin"})
        assert forged.status_code == 303, "nginx says who it is, not the browser"
        past = httpx.get(f"{root}/breaker", headers={"Remote-User": "admin"}, trust_env=False)
        assert (past.status_code, past.headers["location"]) == (303, "/review/login"), "not from an address of a proxy"
