"""nginx, Caddy and Apache in front of a server on loopback, with what `gate-config` prints or the pages show."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support import needs
from support.servers import debian
from support.servers.sshd import free_port

_READY_S = 60
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
"""Where nginx puts down what it does not hold in memory, below its place."""
_MODULES = "mpm_event authz_core headers proxy proxy_http proxy_balancer lbmethod_byrequests slotmem_shm rewrite"
_APACHE = Path("/usr/lib/apache2/modules")

_NGINX = """\
daemon off;
pid {place}/pid;
error_log {place}/error.log;
events {{}}
http {{
    access_log off;
    {paths}
    {http}
    server {{
        listen 127.0.0.1:{port};
        {snippet}
        {rest}
    }}
}}
"""
_CADDY = """\
{{
    admin off
    auto_https off
}}
{sites}
"""
_CADDY_SITE = """\
http://127.0.0.1:{port} {{
{snippet}
    handle {{
        reverse_proxy {server}
    }}
}}
"""
_APACHE_CONF = """\
ServerRoot {place}
ServerName localhost
DefaultRuntimeDir {place}
PidFile {place}/pid
ErrorLog {place}/error.log
LogLevel crit
User nobody
Group nogroup
{modules}
{hosts}
"""
_APACHE_HOST = """\
Listen 127.0.0.1:{port}
<VirtualHost 127.0.0.1:{port}>
{snippet}
ProxyPass "/" "http://{server}/"
</VirtualHost>
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A server, `host:port`, and what the web server in front of it is told besides."""

    server: str
    snippet: str
    port: int


def place_for(folder: Path) -> Path:
    """Return a new directory that the workers of nginx and Apache, which are another user, can write to."""
    folder.mkdir(parents=True)
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == folder.stat().st_uid and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    return folder


def parts(snippet: str) -> tuple[str, str]:
    """Return what of nginx' text belongs into `http`, and what into `server`."""
    before, marked, after = snippet.partition("# 2. ")
    return (before, after.partition("\n")[2]) if marked else ("", snippet)


def written(front: str, place: Path, sites: Sequence[Site]) -> list[str]:
    """Write a whole configuration, and return the command that takes it. nginx takes one site."""
    needs.started(front)
    if front == "nginx":
        (site,) = sites
        http, snippet = parts(site.snippet)
        paths = "".join(f"{name}_temp_path {place}/{name}; " for name in TEMPORARY)
        rest = f"location / {{ proxy_pass http://{site.server}; }}" if site.server else ""
        text = _NGINX.format(place=place, port=site.port, paths=paths, http=http, snippet=snippet, rest=rest)
        (place / "nginx.conf").write_text(text)
        return [str(debian.path_of("nginx")), "-p", str(place), "-c", f"{place}/nginx.conf", "-e", f"{place}/error.log"]
    if front == "caddy":
        shown = (_CADDY_SITE.format(port=s.port, snippet=s.snippet, server=s.server) for s in sites)
        (place / "Caddyfile").write_text(_CADDY.format(sites="\n".join(shown)))
        return [str(debian.path_of("caddy")), "run", "--config", f"{place}/Caddyfile", "--adapter", "caddyfile"]
    hosts = (_APACHE_HOST.format(port=s.port, snippet=s.snippet, server=s.server) for s in sites)
    modules = "\n".join(f"LoadModule {name}_module {_APACHE}/mod_{name}.so" for name in _MODULES.split())
    (place / "apache.conf").write_text(_APACHE_CONF.format(place=place, modules=modules, hosts="\n".join(hosts)))
    return [str(debian.path_of("apache2")), "-f", f"{place}/apache.conf", "-DFOREGROUND"]


def refused(front: str, place: Path, sites: Sequence[Site]) -> str | None:
    """Return what a web server says against a configuration when it is asked to check it, None if nothing."""
    command = written(front, place, sites)
    if front == "caddy":
        command[1] = "validate"
    else:
        command = [word for word in command if word != "-DFOREGROUND"] + ["-t"]
    done = subprocess.run(command, env=_environment(place), capture_output=True, text=True, timeout=120, check=False)
    return None if done.returncode == 0 else done.stdout + done.stderr


@contextmanager
def front_server(name: str, place: Path, server: str, snippet: str) -> Iterator[str]:
    """Run one in front of a server, and yield its URL. Without a `server` the snippet is all that nginx has."""
    port = free_port()
    command = written(name, place, [Site(server, snippet, port)])
    with (place / "said").open("ab") as said:
        process = subprocess.Popen(command, env=_environment(place), stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + _READY_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not answer: {(place / 'said').read_text()[-3000:]}")
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _environment(place: Path) -> dict[str, str]:
    homes = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(place))
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", **homes}
