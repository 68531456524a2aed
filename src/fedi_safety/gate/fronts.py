"""What a web server is told so that uploads, and nothing else, go through the gate: nginx, Caddy, Apache. Text alone.

Where uploads come in is the table's of kinds. Whatever the gate takes for one of these places must be sent to it, so a
place is meant with all that the gate is lenient about: a format or a slash behind it. A kind that takes files in forms
everywhere is told by the method, which no client can spell in two ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fedi_safety.gate.proxy.kinds import UpstreamKind, paths
from fedi_safety.gate.proxy.refusals import refusal

_DOWN = "Files are not taken at the moment. Please try again later."
_METHODS = ("POST", "PUT", "PATCH")
_AGAIN_S = 60


class Front(StrEnum):
    """The web servers that are known."""

    NGINX = "nginx"
    CADDY = "caddy"
    APACHE = "apache"


class WhenDown(StrEnum):
    """What becomes of uploads while the gate cannot be reached."""

    OPEN = "open"  # they go to the server, unjudged and on no list
    CLOSED = "closed"  # they are refused with 503


@dataclass(frozen=True, slots=True)
class Place:
    """What stands where, as the web server reaches it: `host:port` each. `max_bytes`: the largest file taken."""

    kind: UpstreamKind
    gate: str
    server: str
    max_bytes: int

    @property
    def pattern(self) -> str | None:
        """The expression for the paths that go to the gate; None where the method tells."""
        if self.kind.everywhere:
            return None
        return f"^(?:{'|'.join(dict.fromkeys(paths(self.kind)))})(?:[.;/].*)?$"

    @property
    def methods(self) -> str:
        """The expression for the methods."""
        return f"^(?:{'|'.join(_METHODS)})$"

    @property
    def down(self) -> tuple[str, str]:
        """What is said where the gate cannot be reached, in the server's own shape, and its media type."""
        said = refusal(self.kind.shape, "gate_down", status=503, text=_DOWN)
        return bytes(said.body).decode(), said.headers["Content-Type"].partition(";")[0]


def front_text(front: Front, place: Place, when_down: WhenDown) -> str:
    """Return what a web server is told."""
    made = {Front.NGINX: _nginx, Front.CADDY: _caddy, Front.APACHE: _apache}[front](place, when_down)
    return made + "\n"


# --- nginx

# A named location for the server instead of `backup` would lose the body: it is read once, and not buffered.
_NGINX_OPEN = """\
# 1. Into http {{ }}, beside the server's own server {{ }}:
upstream fedi_safety_gate {{
    server {gate} max_fails=0;
    server {server} backup;  # open: while the gate cannot be reached, uploads go on unjudged
}}

"""
_NGINX_PASSED = """\
    proxy_pass http://{to};
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header Proxy "";
    proxy_request_buffering off;  # uploads touch no disk
    proxy_connect_timeout 2s;
    proxy_read_timeout 180s;
    client_max_body_size {most}m;  # more than the gate takes, which says so in the server's words\
"""
_NGINX_CLOSED = """
    error_page 502 504 =503 @fedi_safety_down;"""
_NGINX_DOWN = """
location @fedi_safety_down {{  # closed: while the gate cannot be reached, nothing is uploaded
    default_type {media_type};
    add_header Retry-After {again} always;
    return 503 '{said}';
}}"""
_NGINX_METHODS = """\
recursive_error_pages on;
error_page 418 = @fedi_safety_gate;
if ($request_method ~ "{methods}") {{
    return 418;
}}
location @fedi_safety_gate {{
{passed}
}}"""
_NGINX_PATHS = """\
location ~ "{pattern}" {{
{passed}
}}"""


def _nginx(place: Place, when_down: WhenDown) -> str:
    opened = when_down is WhenDown.OPEN
    said, media_type = place.down
    most = -(-2 * place.max_bytes >> 20)
    passed = _NGINX_PASSED.format(to="fedi_safety_gate" if opened else place.gate, most=most)
    passed += "" if opened else _NGINX_CLOSED
    location = _NGINX_METHODS if place.pattern is None else _NGINX_PATHS
    text = _NGINX_OPEN.format(gate=place.gate, server=place.server) if opened else ""
    text += f"# {'2. ' if opened else ''}Into the server's own server {{ }}, before its locations:\n"
    text += location.format(pattern=place.pattern, methods=place.methods, passed=passed)
    return text + ("" if opened else _NGINX_DOWN.format(said=said, media_type=media_type, again=_AGAIN_S))


# --- Caddy

# No `lb_try_duration`: before 2.11.2 a second try finds the body closed, and takes the server for down as well.
_CADDY = """\
# Into the site's own block, before its other handlers:
@fedi_safety {matcher}
handle @fedi_safety {{
    reverse_proxy {to} {{
{more}        transport http {{
            dial_timeout 2s
        }}
    }}
}}"""
_CADDY_OPEN = """\
        lb_policy first
        fail_duration 10s  # open: one upload fails, those of the next seconds go on unjudged
"""
_CADDY_CLOSED = """
handle_errors {{  # closed: while the gate cannot be reached, nothing is uploaded
    @fedi_safety_down {{
        {matcher}
        expression `{{err.status_code}} in [502, 503, 504]`
    }}
    handle @fedi_safety_down {{
        header Content-Type {media_type}
        header Retry-After {again}
        respond `{said}` 503
    }}
}}"""


def _caddy(place: Place, when_down: WhenDown) -> str:
    opened = when_down is WhenDown.OPEN
    said, media_type = place.down
    matcher = f"method {' '.join(_METHODS)}" if place.pattern is None else f"path_regexp `{place.pattern}`"
    to = f"{place.gate} {place.server}" if opened else place.gate
    text = _CADDY.format(matcher=matcher, to=to, more=_CADDY_OPEN if opened else "")
    return text + (
        "" if opened else _CADDY_CLOSED.format(matcher=matcher, said=said, media_type=media_type, again=_AGAIN_S)
    )


# --- Apache

_APACHE_OPEN = """\
<Proxy "balancer://fedi-safety-gate">
    BalancerMember "http://{gate}" retry=1 connectiontimeout=2
    BalancerMember "http://{server}" status=+H
    # open: while the gate cannot be reached, uploads go on unjudged
</Proxy>"""
_APACHE_CLOSED = """\
<Proxy "http://{gate}">
    ProxySet retry=0 connectiontimeout=2
</Proxy>"""
_APACHE_DOWN = """
# closed: while the gate cannot be reached, nothing is uploaded
{begin}
    ErrorDocument 503 '{said}'
{end}"""


def _apache(place: Place, when_down: WhenDown) -> str:
    opened = when_down is WhenDown.OPEN
    to = "balancer://fedi-safety-gate" if opened else f"http://{place.gate}"
    modules = ["proxy", "proxy_http", "headers"]
    modules += ["proxy_balancer", "lbmethod_byrequests", "slotmem_shm"] if opened else []
    if place.pattern is None:
        modules.append("rewrite")
        begin, end = f'<If "%{{REQUEST_METHOD}} =~ /{place.methods}/">', "</If>"
        sent = (
            f'RewriteEngine On\nRewriteCond "%{{REQUEST_METHOD}}" "{place.methods}"\nRewriteRule "^(.*)$" "{to}$1" [P]'
        )
    else:
        begin, end = f'<LocationMatch "{place.pattern}">', "</LocationMatch>"
        sent = f'ProxyPassMatch "^({place.pattern.removeprefix("^").removesuffix("$")})$" "{to}$1"'
    text = f"# Into the site's own <VirtualHost>, before its other ProxyPass. Modules: a2enmod {' '.join(modules)}\n"
    text += (_APACHE_OPEN if opened else _APACHE_CLOSED).format(gate=place.gate, server=place.server)
    text += f"\nProxyPreserveHost On\nRequestHeader set X-Forwarded-Proto expr=%{{REQUEST_SCHEME}}\n{sent}"
    if opened:
        return text
    said, _ = place.down
    return text + _APACHE_DOWN.format(begin=begin, end=end, said=said)
