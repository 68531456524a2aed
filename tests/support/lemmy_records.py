"""People, posts and comments for Lemmy's real tables: single ones to be found, and many to search among.

Triggers stay off while many are made: they keep counts, which nobody reads here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from support.servers.lemmy import DATABASE, V0_19, Release
from support.servers.postgresql import PostgresqlServer

HOST = "lemmy.example"
FAR = "far.example"
ROOT = f"https://{HOST}"
_KEY = "a key"
_INDEXES = """
SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i
WHERE i.indrelid IN ('post'::regclass, 'comment'::regclass)
AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
"""


class LemmyRecords:
    """Writes into a Lemmy's database as its superuser, by the names that its version has for columns."""

    def __init__(self, server: PostgresqlServer, release: Release, database: str = DATABASE) -> None:
        self.actor, self.at = ("actor_id", "published") if release is V0_19 else ("ap_id", "published_at")
        self.is_0_19 = release is V0_19
        self._connection = psycopg.connect(server.dsn(database=database), autocommit=True)
        self._connection.execute("SET session_replication_role = replica")
        self._hosts: dict[str, int] = {}
        self._made = time.monotonic_ns()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._connection.close()

    def add(self, table: str, returning: str = "id", **cells: Any) -> Any:
        """Write a row and return its id."""
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, cells)),
            sql.SQL(", ").join(sql.Placeholder() * len(cells)),
            sql.Identifier(returning),
        )
        row = self._connection.execute(query, list(cells.values())).fetchone()
        assert row is not None
        return row[0]

    def instance(self, host: str) -> int:
        """Return the id of an instance, which is made where there is none."""
        if host not in self._hosts:
            row = self._connection.execute("SELECT id FROM instance WHERE domain = %s", [host]).fetchone()
            self._hosts[host] = row[0] if row else self.add("instance", domain=host)
        return self._hosts[host]

    def site(self, host: str = HOST, **cells: Any) -> int:
        """Write a site; the first is the server's own."""
        actor = {self.actor: f"https://{host}/"}
        site: int = self.add(
            "site", name=host, public_key=_KEY, instance_id=self.instance(host), inbox_url=f"{host}/i", **actor, **cells
        )
        if host == HOST:
            more: Mapping[str, Any] = {} if self.is_0_19 else {"system_account": self.person("system")}
            self.add("local_site", site_id=site, **more)
        return site

    def person(self, name: str, host: str = HOST, **cells: Any) -> int:
        """Write a person and return their id; those of this server can log in."""
        actor = {self.actor: f"https://{host}/u/{name}"}
        person: int = self.add(
            "person",
            name=name,
            public_key=_KEY,
            private_key=_KEY,
            instance_id=self.instance(host),
            local=host == HOST,
            **actor,
            **cells,
        )
        if host == HOST:
            self.add("local_user", person_id=person, password_encrypted="x", email=f"{name}@{host}")
        return person

    def community(self, name: str, host: str = HOST, **cells: Any) -> int:
        """Write a community and return its id."""
        actor = {self.actor: f"https://{host}/c/{name}"}
        community: int = self.add(
            "community",
            name=name,
            title=name,
            public_key=_KEY,
            instance_id=self.instance(host),
            local=host == HOST,
            **actor,
            **cells,
        )
        return community

    def post(self, creator: int, community: int, host: str = HOST, **cells: Any) -> int:
        """Write a post and return its id."""
        number = self._next("post")
        of: dict[str, Any] = {"id": number, "ap_id": f"https://{host}/post/{number}", "local": host == HOST}
        self.add("post", name="a title", creator_id=creator, community_id=community, **of, **cells)
        return number

    def comment(self, creator: int, post: int, content: str, host: str = HOST, **cells: Any) -> int:
        """Write a comment and return its id."""
        number = self._next("comment")
        of: dict[str, Any] = {"id": number, "ap_id": f"https://{host}/comment/{number}", "local": host == HOST}
        more: dict[str, Any] = {} if self.is_0_19 else {"community_id": 1}
        self.add("comment", creator_id=creator, post_id=post, content=content, **of, **more, **cells)
        return number

    def message(self, creator: int, recipient: int, content: str) -> int:
        """Write a private message and return its id."""
        number = self._next("private_message")
        of: dict[str, Any] = {"id": number, "ap_id": f"https://{FAR}/private_message/{number}"}
        self.add("private_message", creator_id=creator, recipient_id=recipient, content=content, **of)
        return number

    def _next(self, table: str) -> int:
        row = self._connection.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id'))", [table]).fetchone()
        assert row is not None
        return int(row[0])

    def upload(self, alias: str, person: int | None, preview_of: int | None = None) -> None:
        """Write an upload of a person of this server; None is Lemmy itself."""
        if not self.is_0_19:
            cells = {"person_id": person, "thumbnail_for_post_id": preview_of}
            self.add("local_image", "pictrs_alias", pictrs_alias=alias, **cells)
            return
        user = None
        if person is not None:
            row = self._connection.execute("SELECT id FROM local_user WHERE person_id = %s", [person]).fetchone()
            assert row is not None, "0.19 knows uploads of its own people alone"
            user = row[0]
        cells_0_19 = {"local_user_id": user, "pictrs_delete_token": "x"}
        self.add("local_image", "pictrs_alias", pictrs_alias=alias, **cells_0_19)

    def many(self, *, people: int, posts: int, comments: int) -> None:
        """Write many of each, with texts and pictures of their own, and have the planner know of them."""
        hosts = max(2, people // 50)
        self._made += 1
        of = f"many{self._made}x"
        text = "(SELECT string_agg(md5((n * 31 + w)::text), ' ') FROM generate_series(1, 8) w)"
        alias = f"'{ROOT}/pictrs/image/' || gen_random_uuid() || '.webp'"
        at, actor = self.at, self.actor
        community_id, of_community = ("", "") if self.is_0_19 else (", community_id", ", 1")
        of_site, site = (", local_site_id", ", 1") if self.is_0_19 else ("", "")
        token, a_token = (", pictrs_delete_token", ", 'x'") if self.is_0_19 else ("", "")
        indexes = self._connection.execute(_INDEXES).fetchall()  # made anew they are made in a fraction of the time
        for query in (
            *(f"DROP INDEX {name}" for name, _ in indexes),
            f"INSERT INTO instance (domain) SELECT '{of}' || n || '.example' FROM generate_series(1, {hosts}) n",
            f"INSERT INTO person (name, public_key, instance_id, local, {actor}, inbox_url, avatar)"
            f" SELECT '{of}' || n, 'k', (SELECT max(id) FROM instance) - n % {hosts}, false,"
            f" 'https://{of}' || n % {hosts} || '.example/u/' || n, '{of}' || n,"
            f" CASE WHEN n % 3 = 0 THEN {alias} END FROM generate_series(1, {people}) n",
            f"INSERT INTO community (name, title, public_key, instance_id, {actor}, inbox_url)"
            f" SELECT '{of}' || n, 'c', 'k', (SELECT min(id) FROM instance), 'https://{of}.example/c/' || n,"
            f" '{of}' || n FROM generate_series(1, {max(1, people // 20)}) n",
            f"INSERT INTO post (name, creator_id, community_id, ap_id, url, thumbnail_url, body, {at})"
            f" SELECT md5(n::text), (SELECT max(id) FROM person) - n % {people}, (SELECT max(id) FROM community),"
            f" 'https://{of}.example/post/' || n,"
            f" CASE WHEN n % 2 = 0 THEN {alias} ELSE 'https://news.example/' || n END, {alias},"
            f" {text} || CASE WHEN n % 5 = 0 THEN {alias} ELSE '' END, now() - n * interval '1 minute'"
            f" FROM generate_series(1, {posts}) n",
            f"INSERT INTO comment (creator_id, post_id, ap_id, content, {at}{community_id})"
            f" SELECT (SELECT max(id) FROM person) - n % {people}, (SELECT max(id) FROM post) - n % {posts},"
            f" 'https://{of}.example/comment/' || n, {text} || CASE WHEN n % 10 = 0 THEN {alias} ELSE '' END, now()"
            f"{of_community} FROM generate_series(1, {comments}) n",
            "INSERT INTO private_message (creator_id, recipient_id, content, ap_id)"
            f" SELECT (SELECT max(id) FROM person) - n % {people}, (SELECT max(id) FROM person), {text},"
            f" 'https://{of}.example/pm/' || n FROM generate_series(1, {people}) n",
            f"INSERT INTO local_image (pictrs_alias{token}) SELECT gen_random_uuid() || '.webp'{a_token}"
            f" FROM generate_series(1, {posts}) n",
            f"INSERT INTO remote_image (link) SELECT 'https://{of}.example/' || gen_random_uuid()"
            f" FROM generate_series(1, {posts}) n",
            f"INSERT INTO custom_emoji (shortcode, image_url, alt_text, category{of_site})"
            f" SELECT '{of}' || n, {alias}, '', ''{site} FROM generate_series(1, {max(1, people // 10)}) n",
            "SET maintenance_work_mem = '512MB'",
            *(definition for _, definition in indexes),
            "VACUUM ANALYZE",
        ):
            self._connection.execute(query.encode())
