"""The same pictures on the local store, on S3 and over SFTP, scanned in turn: does fetching hide behind inference?

The servers are the real ones of the tests, on loopback and on the same processors, so they compete with the scan for
time; over a network they would not, but the network would add its delay.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from bench.corpus import default_work, instance_corpus
from bench.measure import Spread, machine, machine_line, write_result

from fedi_safety.app.engine import Engine, open_engine
from fedi_safety.app.ledger import open_settings_ledger
from fedi_safety.app.scan import scan
from fedi_safety.config.loading import load_settings
from fedi_safety.config.schema import S3, Settings, Ssh
from fedi_safety.core.ports import Store
from fedi_safety.core.runs import ScanRequest
from fedi_safety.policies import load_policy
from fedi_safety.stores import open_store
from support.servers import sshd
from support.servers.s3 import s3_server

TARGETS = {"local": 1.0, "s3": 0.9, "sftp": 0.8}


@contextmanager
def filled(folder: Path, connections: int) -> Iterator[dict[str, Store]]:
    """Yield the three stores, each with the same files."""
    with ExitStack() as stack:
        server = stack.enter_context(s3_server())
        bucket = server.make_bucket("bench")
        base = sshd.new_base()
        stack.callback(shutil.rmtree, base)
        remote = sshd.Sshd(base)
        remote.trust()
        remote.start()
        stack.callback(remote.stop)
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            server.put(bucket, str(path.relative_to(folder)), path.read_bytes())
        shutil.copytree(folder, remote.media, dirs_exist_ok=True)
        access = {
            "access_key_id": server.access_key,
            "secret_access_key": server.secret_key,
            "connections": connections,
        }
        keys = {"known_hosts": str(remote.known_hosts), "identity_file": str(remote.identity)}
        stores = {
            "local": open_store(str(folder)),
            "s3": open_store(f"s3://{bucket}", Settings(s3=S3.model_validate(access | {"endpoint": server.endpoint}))),
            "sftp": open_store(remote.url, Settings(ssh=Ssh.model_validate(keys))),
        }
        for store in stores.values():
            stack.callback(store.close)
        yield stores


def scan_rate(settings: Settings, engine: Engine, store: Store) -> float:
    """Scan a store into a fresh ledger and return judged objects a second."""
    with tempfile.TemporaryDirectory() as fresh:
        local = settings.model_copy(update={"ledger": f"{fresh}/ledger.db"})
        ledger = open_settings_ledger(local)
        try:
            request = ScanRequest(store.url, dry_run=True)
            policy = load_policy(settings.policy)
            report = scan(local, request, ledger=ledger, store=store, engine=engine, policy=policy)
        finally:
            ledger.dispose()
    if report.tally.unscanned:
        raise SystemExit(f"{store.url}: unscanned {report.tally.unscanned}")
    return report.tally.judged / report.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8, help="of the S3 store")
    parser.add_argument("--work", type=Path, default=default_work())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.pop("FEDI_SAFETY_LEDGER", None)
    about = machine()
    print(machine_line(about))
    settings = load_settings()
    engine = open_engine(settings)
    rates: dict[str, list[float]] = {name: [] for name in TARGETS}
    try:
        with filled(instance_corpus(options.work, options.files), options.connections) as stores:
            names = list(stores)
            for number in range(options.rounds + 1):
                first = number % len(names)  # nobody always comes after the same one
                for name in names[first:] + names[:first]:
                    rate = scan_rate(settings, engine, stores[name])
                    if number:  # the first round warms up
                        rates[name].append(rate)
                if number:
                    print(f"round {number}: " + "  ".join(f"{name} {rates[name][-1]:.1f}" for name in rates))
    finally:
        engine.close()
    result: dict[str, object] = {"machine": about, "files": options.files, "rates": rates}
    for name, target in TARGETS.items():
        ratios = [there / here for there, here in zip(rates[name], rates["local"], strict=True)]
        spread = Spread(tuple(ratios))
        verdict = (
            "" if name == "local" else f"   target {target:.2f}: {'kept' if spread.median >= target else 'MISSED'}"
        )
        print(f"{name:6} {Spread(tuple(rates[name])).text(1)} images/s   to local {spread.text()}{verdict}")
        result[f"{name} to local"] = ratios
    write_result("stores", result, options.out)


if __name__ == "__main__":
    main()
