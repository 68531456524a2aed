"""A condemned picture of a Lemmy from end to end: a real pict-rs, Lemmy's real tables, and a purge in between.

The picture has several names and is a proxied copy besides; each leads to somebody, and all of it is on record before
pict-rs forgets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedi_safety.tracing.database import grants
from fedi_safety.tracing.lemmy_schema import V0_19 as TABLES
from support.corpus.photos import jpeg_bytes
from support.lemmy_cases import ROLE
from support.lemmy_records import FAR, ROOT, LemmyRecords
from support.needs import needs
from support.program import FACES, program
from support.servers.lemmy import DATABASE, V0_19, lemmy_postgresql
from support.servers.pictrs import pictrs_database, pictrs_server
from support.servers.postgresql import PostgresqlServer
from support.servers.s3 import REGION, s3_server
from support.servers.web import web


@pytest.fixture(scope="module")
@needs("lemmy", "postgresql")
def lemmy() -> Iterator[PostgresqlServer]:
    with lemmy_postgresql(V0_19) as running:
        running.execute(*grants(TABLES.schema.reads, role=ROLE, database=DATABASE), database=DATABASE)
        with LemmyRecords(running, V0_19) as made:
            made.site()
            made.community("ours")
        yield running


@pytest.mark.needs("pictrs", "postgresql")
@pytest.mark.parametrize("kind", ["file", pytest.param("s3", marks=pytest.mark.needs("s3"))])
def test_every_name_of_a_picture_is_traced_before_it_is_purged(
    kind: str, lemmy: PostgresqlServer, tmp_path: Path
) -> None:
    policy = tmp_path / "faces.toml"
    policy.write_text(FACES)
    with ExitStack() as stack:
        database = stack.enter_context(pictrs_database())
        variables = {"REPO__TYPE": "postgres", "REPO__URL": database.owner, "CLIENT__ALLOW_LOCAL_CONNECTIONS": "true"}
        access: dict[str, str] = {}
        if kind == "s3":
            s3 = stack.enter_context(s3_server())
            s3.make_bucket("pictrs")
            variables |= {
                "STORE__TYPE": "object_storage",
                "STORE__ENDPOINT": s3.endpoint,
                "STORE__BUCKET_NAME": "pictrs",
                "STORE__REGION": REGION,
                "STORE__ACCESS_KEY": s3.access_key,
                "STORE__SECRET_KEY": s3.secret_key,
                "STORE__USE_PATH_STYLE": "true",
            }
            access = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
        server = stack.enter_context(pictrs_server(**variables))
        port, _ = stack.enter_context(web({"/p/portrait.jpg": jpeg_bytes("astronaut")}))
        origin = f"http://127.0.0.1:{port}/p/portrait.jpg"
        aliases = [server.upload(jpeg_bytes("astronaut")) for _ in range(3)]
        kept = server.upload(jpeg_bytes("coffee"))
        assert server.http.get(f"{server.url}/image/original", params={"proxy": origin}).status_code == 200
        with LemmyRecords(lemmy, V0_19) as made:
            people = [made.person(f"{kind}{port}of{n}") for n in range(2)]
            for alias, person in zip(aliases, (people[0], people[1], people[0]), strict=True):
                made.upload(alias, person)
            made.upload(kept, people[1])
            them = made.person(f"{kind}{port}far", FAR)
            linked = made.post(them, 1, FAR, url=origin)
            shown = made.comment(people[1], linked, f"![]({ROOT}/pictrs/image/{aliases[1]})")
        env = access | {
            "FEDI_SAFETY_PICTRS__URL": server.url,
            "FEDI_SAFETY_PICTRS__API_KEY": server.api_key,
            "FEDI_SAFETY_PICTRS__DATABASE": database.reader,
            "FEDI_SAFETY_TRACE__SERVER": "lemmy",
            "FEDI_SAFETY_TRACE__URL": ROOT,
            "FEDI_SAFETY_TRACE__DATABASE": lemmy.dsn(ROLE, DATABASE),
        }
        store = f"s3://pictrs?endpoint={s3.endpoint}&region={REGION}&style=path" if kind == "s3" else server.store_url
        scan = ("scan", store, "--act", "purge", "--policy", str(policy), "--without-dry-run", "--json")
        done = program(*scan, env=env)
        assert done.code == 0, done
        assert (done.json["block"], done.json["acted"], done.json["failed"]) == (1, 1, 0)
        assert [server.status(alias) for alias in (*aliases, kept)] == [404, 404, 404, 200]
        (row,) = program("list", "--json", "--verdict", "block").lines
        told = program("show", row["key"], "--json").json
        (record,) = told["traces"]
        assert record["state"] == "found", record
        assert set(aliases) < set(record["aliases"]) and record["origins"] == [origin]
        found = {(s["kind"], s["record"], s["person_id"], s["certainty"]) for s in record["sightings"]}
        uploads = zip(aliases, (people[0], people[1], people[0]), strict=True)
        assert found == {
            *(("upload", f"local_image/{alias}", str(person), "certain") for alias, person in uploads),
            ("post", f"post/{linked}", str(them), "likely"),
            ("comment", f"comment/{shown}", str(people[1]), "certain"),
        }
        order = [event["kind"] for event in told["events"]]
        assert order.index("traced") < order.index("act.started")
        by_person = program("list", "--by", "person", "--json").lines
        assert len(by_person) == 3, by_person
        verified = program("ledger", "verify")
        assert verified.code == 0, verified
