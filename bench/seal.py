"""What sealing adds to a removal, and how much memory it takes: `./dev bench seal [--store KIND] [--count N] [--mb N]`.

In one run, in pairs whose halves take turns in coming first: objects of random bytes are removed by `delete`, and by
`seal` with the vault on the disk of this machine, from a directory there or from a server on loopback. `removal` is the
removal alone (start, remove, verify, close); `pass` is a whole scan that judges pictures of that size by the embedded
detectors and removes them, with models that are at work already; `first_pass` is that of a new process, whose models
and decoders have seen nothing yet; `steps` are those of sealing, one by one. What counts
is the median of the pairs' own differences and ratios, with the interval of 95 % of it. Memory is what a process that
seals a group of objects, of which two are in hand at once, takes above before.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyrage
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bench.measure import interval

from fedi_safety.acts.delete import Remove
from fedi_safety.acts.sealed_file import Contents, Growing, digest_of
from fedi_safety.app.engine import Engine, open_engine
from fedi_safety.app.ledger import SystemClock, open_settings_ledger
from fedi_safety.app.scan import scan
from fedi_safety.config.schema import S3, Seal, Settings, Ssh
from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind, Detail, MediaType, PlanState
from fedi_safety.core.ports import Act, Store
from fedi_safety.core.runs import ScanRequest, Tally
from fedi_safety.core.types import Decoded, Object, Plan
from fedi_safety.policies import load_policy
from fedi_safety.stores import open_store
from fedi_safety.stores.local import LocalStore
from fedi_safety.stores.vaults.local import LocalVault
from support.fakes import FakeDecoder, text_frame
from support.passes import RED_CIRCLE, Bench
from support.sealing import RememberedSeals, SealedFolder, key, public
from support.servers.s3 import s3_server
from support.servers.sshd import AS_ROOT, Sshd, new_base

_POLICY = """\
[factors]
anything = ["nsfw.open_nsfw"]

[[rules]]
name = "anything"
when = { anything = 0.0000001 }
verdict = "block"
"""


class Condemning(FakeDecoder):
    """Shows a red circle for whatever it is given."""

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:  # noqa: ARG002
        """Return one frame."""
        return Decoded(media_type, 100, 50, (text_frame(0, RED_CIRCLE),), None)


Filled = Callable[[Path, Sequence[bytes]], Store]
"""Puts objects into a new store, and opens it."""


def local_store(folder: Path, data: Sequence[bytes]) -> Store:
    """A directory beside the vault."""
    media = folder / "media"
    media.mkdir(parents=True)
    for number, body in enumerate(data):
        (media / f"{number}").write_bytes(body)
    return LocalStore(str(media))


@contextmanager
def s3_store(versions: bool) -> Iterator[Filled]:
    """Buckets of an S3 server on loopback."""
    with s3_server() as running:

        def filled(folder: Path, data: Sequence[bytes]) -> Store:
            folder.mkdir(parents=True)
            bucket = running.make_bucket(f"seal-{secrets.token_hex(4)}", versions=versions)
            for number, body in enumerate(data):
                running.put(bucket, f"{number}", body)
            keys = {"access_key_id": running.access_key, "secret_access_key": running.secret_key}
            access = S3.model_validate({**keys, "endpoint": running.endpoint})
            return open_store(f"s3://{bucket}", Settings(s3=access))

        yield filled


@contextmanager
def sftp_store() -> Iterator[Filled]:
    """Directories of OpenSSH's sshd on loopback."""
    base = new_base()
    running = Sshd(base)
    running.trust()
    running.start()

    def filled(folder: Path, data: Sequence[bytes]) -> Store:
        folder.mkdir(parents=True)
        media = running.media / secrets.token_hex(4)
        media.mkdir()
        for number, body in enumerate(data):
            (media / f"{number}").write_bytes(body)
        if AS_ROOT:
            for each in (media, *media.iterdir()):
                os.chown(each, running.media.stat().st_uid, -1)
        access = {"known_hosts": str(running.known_hosts), "identity_file": str(running.identity)}
        return open_store(f"{running.url}/{media.name}", Settings(ssh=Ssh.model_validate(access)))

    try:
        yield filled
    finally:
        running.stop()
        shutil.rmtree(base)


def removal(folder: Path, act: ActKind, data: Sequence[bytes], filled: Filled) -> float:
    """Return the seconds that removing one object takes, record included."""
    store = filled(folder, data)
    os.sync()
    bench = Bench(folder / "ledger.db", store, decoder=Condemning())
    bench.scan(dry_run=True, act=act)
    run = bench.ledger.begin_run("apply", bench.store.url, {})
    vault = SealedFolder(folder / "vault")
    acts: dict[ActKind, Act] = {
        ActKind.DELETE: Remove(bench.store),
        ActKind.SEAL: vault.act(bench.store, bench.ledger, bench.clock),
    }
    plans = list(bench.ledger.open_plans(bench.store.url))
    began = time.perf_counter()
    Acting(bench.ledger, acts, run, tally := Tally()).carry_out(plans)
    took = time.perf_counter() - began
    assert tally.acted == len(data), tally
    bench.store.close()
    bench.close()
    return took / len(data)


def first_pass(rules: Path, folder: Path, act: ActKind, pictures: Sequence[bytes]) -> float:
    """Return that of `whole_pass` with an engine that has done nothing yet. Opening it does not count."""
    engine = open_engine(Settings(policy=str(rules)))
    try:
        return whole_pass(engine, rules, folder, act, pictures)
    finally:
        engine.close()


def whole_pass(engine: Engine, rules: Path, folder: Path, act: ActKind, pictures: Sequence[bytes]) -> float:
    """Return the seconds that a scan takes for one picture, which it judges and removes."""
    media = folder / "media"
    media.mkdir(parents=True)
    (folder / "vault").mkdir()
    for number, body in enumerate(pictures):
        (media / f"{number}.jpg").write_bytes(body)
    os.sync()
    seal = Seal(recipients=(public(),), vault=str(folder / "vault"))
    settings = Settings(policy=str(rules), act=act.value, seal=seal, ledger=str(folder / "ledger.db"))
    store, ledger = LocalStore(str(media)), open_settings_ledger(settings)
    policy = load_policy(settings.policy)
    request = ScanRequest(store.url, act=act, resume_acts=True)
    began = time.perf_counter()
    report = scan(settings, request, ledger=ledger, store=store, engine=engine, policy=policy)
    took = time.perf_counter() - began
    assert report.tally.acted == len(pictures), report.as_json()
    store.close()
    ledger.dispose()
    return took / len(pictures)


class Measured(Protocol):
    """What is measured: seconds an object, by an act, in a new folder."""

    def __call__(self, *, folder: Path, act: ActKind) -> float: ...


def compared(measured: Measured, base: Path, pairs: int) -> dict[str, Any]:
    """Return what pairs show of a removal without and with a seal. A pair before them loads what is loaded once."""
    rows: list[dict[ActKind, float]] = []
    for turn in range(pairs + 1):
        row: dict[ActKind, float] = {}
        for act in (ActKind.DELETE, ActKind.SEAL)[:: 1 if turn % 2 else -1]:
            folder = base / f"{turn}-{act.value}"
            row[act] = measured(folder=folder, act=act)
            shutil.rmtree(folder)
        rows.append(row)
    del rows[0]
    added = [row[ActKind.SEAL] - row[ActKind.DELETE] for row in rows]
    share = [row[ActKind.SEAL] / row[ActKind.DELETE] - 1 for row in rows]
    return {
        "pairs": len(rows),
        "delete_ms": round(statistics.median(row[ActKind.DELETE] for row in rows) * 1000, 1),
        "seal_ms": round(statistics.median(row[ActKind.SEAL] for row in rows) * 1000, 1),
        "added_ms": round(statistics.median(added) * 1000, 1),
        "added_ms_95": [round(each * 1000, 1) for each in interval(added)],
        "added_share": round(statistics.median(share), 3),
        "added_share_95": [round(each, 3) for each in interval(share)],
    }


def noise_picture(megabytes: float) -> bytes:
    """Return a JPEG of this size, within a hundredth: noise, which no detector knows."""
    wanted, side = megabytes * 1_000_000, int((megabytes * 1_000_000 / 0.9) ** 0.5)
    while True:
        out = io.BytesIO()
        pixels = np.random.default_rng().integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(out, "JPEG", quality=90)
        if abs(out.tell() / wanted - 1) < 0.01:
            return out.getvalue()
        side = int(side * (wanted / out.tell()) ** 0.5)


def memory(folder: Path, size: int) -> float:
    """Return how many times an object's size a group of three takes in memory, at most, in this process."""
    media = folder / "media"
    media.mkdir(parents=True)
    (media / "0").write_bytes(os.urandom(1000))
    for name in ("1", "2", "3"):
        with (media / name).open("wb") as stream:
            for _ in range(size // 1_000_000):
                stream.write(os.urandom(1_000_000))
    store, plans = LocalStore(str(media)), []
    act = SealedFolder(folder / "vault").act(store, RememberedSeals(), SystemClock())
    for number, obj in enumerate(item for item in store.list() if isinstance(item, Object)):
        with (media / obj.key).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
        plans.append(Plan(number + 1, obj, digest, ActKind.SEAL, PlanState.STARTED))
    before = 0
    for group in (plans[:1], plans[1:]):  # the first loads what is loaded once
        before = most_held()
        with act.ahead(group):
            for plan in group:
                outcome = act.perform(plan)
                assert outcome.state is PlanState.DONE, outcome.detail
    act.close()
    store.close()
    return (most_held() - before) / size


def steps(base: Path, data: bytes) -> dict[str, float]:
    """Return the milliseconds of each step of sealing one object of this size, one after another; medians of nine."""
    (base / "steps").mkdir()
    vault, once = LocalVault(str(base / "steps")), pyrage.x25519.Identity.generate()
    contents = Contents({}, data, 0.0)
    keys = [key().to_public()]
    sealed = contents.seal(keys, once, Growing(bytearray(contents.room(2))))
    doing: dict[str, Callable[[], object]] = {
        "hash the object (SHA-256)": lambda: hashlib.sha256(data).digest(),
        "seal (age, two keys)": lambda: contents.seal(keys, once, Growing(bytearray(contents.room(2)))),
        "write and sync": lambda: vault.put("steps", (sealed,)),
        "read back from the disk and compare": lambda: vault.holds("steps", sealed),
        "open and compare": lambda: contents.opens(sealed, once),
        "hash the sealed file (SHA-256)": lambda: digest_of((sealed,)),
    }
    found: dict[str, list[float]] = {name: [] for name in doing}
    for _ in range(9):
        for name, step in doing.items():
            began = time.perf_counter()
            step()
            found[name].append(time.perf_counter() - began)
    vault.close()
    return {name: round(statistics.median(took) * 1000, 1) for name, took in found.items()}


STORES: dict[str, Callable[[], AbstractContextManager[Filled]]] = {
    "local": lambda: nullcontext(local_store),
    "s3": lambda: s3_store(False),
    "s3-versions": lambda: s3_store(True),
    "sftp": sftp_store,
}


def most_held() -> int:
    """Return the most bytes that this process has held in memory; what it was before it became this program aside."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12, help="objects of a turn (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=12, help="how often both are measured (default: %(default)s)")
    parser.add_argument("--mb", type=float, default=10.0, help="megabytes of an object (default: %(default)s)")
    parser.add_argument("--store", choices=STORES, default="local", help="where the objects are (default: %(default)s)")
    parser.add_argument("--folder", help="where it is measured; a folder of its own in the system's, if not given")
    parser.add_argument(
        "--memory", type=int, metavar="BYTES", help="measure that of objects of this size, in this process"
    )
    options = parser.parse_args()
    if options.memory is not None:
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            print(round(memory(Path(temporary), options.memory), 2))
        return
    size = int(options.mb * 1_000_000)
    found: dict[str, Any] = {"store": options.store, "mb": options.mb, "count": options.count}
    data = [b"pic" + os.urandom(size - 3) for _ in range(options.count)]
    pictures = [noise_picture(options.mb) for _ in range(max(3, options.count // 3))]
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        base = Path(temporary)
        with STORES[options.store]() as filled:
            alone = partial(removal, data=data, filled=filled)
            found["removal"] = compared(alone, base / "removal", options.pairs)
        if options.store == "local":
            rules = base / "policy.toml"
            rules.write_text(_POLICY)
            engine = open_engine(Settings(policy=str(rules)))
            try:
                whole = partial(whole_pass, engine, rules, pictures=pictures)
                found["pass"] = compared(whole, base / "pass", options.pairs)
            finally:
                engine.close()
            first = partial(first_pass, rules, pictures=pictures)
            found["first_pass"] = compared(first, base / "first", options.pairs)
        found["steps_ms"] = steps(base, data[0])
    child = subprocess.run([sys.executable, __file__, "--memory", "100000000"], capture_output=True, check=True)
    found["memory_times_size"] = float(child.stdout)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
