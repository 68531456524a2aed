"""CLIP at full size beside a loop in the predecessor's shape, all interleaved in one run, with random weights.

(p) the loop: Pillow, thumbnail 512, open_clip ViT-L-14 in fp32, two forwards of one picture each, ten threads
(a) `scan --no-cascade` with the detector clip alone: every picture through ViT-L-14, in each number format
(t) the network alone, beside the rate of bare multiplications in the same number format
(c) `scan` with the embedded detectors and clip, in the cascade, on the corpus of bench/scan.py

(p) needs torch and open_clip, which `./dev parity` installs beside this project; --torch-python names another Python
that has them. The same Python exports the model. Models are loaded before the clock starts in all of them. With
--device cuda (a) and (c) run in fp16, and (p) on the GPU as well.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ARCHITECTURE = "ViT-L-14"
MODEL = "ViT-L-14__random"
SEED = 0
TARGETS = {"fp32": 2.2, "bf16": 4.0, "int8": 7.0}
CASCADE_TARGET = 60.0
TOWER_TARGET = 0.85
RSS_TARGETS_MB = {"int8": 1200.0, "fp32": 2600.0}
# Dense fp16 with fp32 accumulation, from the makers' data sheets.
PEAK_TFLOPS = {"H200": 989.5, "H100": 989.5, "A100": 312.0, "L40S": 362.0, "4090": 165.2, "3090": 71.0, "T4": 65.0}


# --- run by the other Python: torch and open_clip, without this project's dependencies --------------------------------
def plain_loop(folder: Path, threads: int, device: str) -> dict[str, Any]:
    """Embed every file twice, one at a time, as the predecessor's newer path does; return the seconds."""
    from concurrent.futures import ThreadPoolExecutor
    from resource import RUSAGE_SELF, getrusage

    import open_clip
    import torch
    from PIL import Image

    torch.manual_seed(SEED)
    model, _, preprocess = open_clip.create_model_and_transforms(ARCHITECTURE, pretrained=None, force_quick_gelu=True)
    model = model.eval().to(device)
    files = sorted(p for p in folder.rglob("*") if p.is_file())

    def forward(image: Any) -> Any:
        with torch.no_grad(), torch.autocast(device, enabled=device == "cuda"):
            features = model.encode_image(preprocess(image).unsqueeze(0).to(device))
            return (features / features.norm(dim=-1, keepdim=True)).float().cpu()

    def judge(path: Path) -> None:
        with Image.open(path) as image:
            image.thumbnail((512, 512))
            rgb = image.convert("RGB")
        forward(rgb)
        forward(rgb)

    forward(Image.new("RGB", (512, 384)))
    start = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(judge, files):
            pass
    seconds = time.monotonic() - start
    return {"seconds": seconds, "files": len(files), "peak_rss_mb": getrusage(RUSAGE_SELF).ru_maxrss / 1024}


def export_model(models: Path) -> None:
    """Write the model folder, by this project's own exporter."""
    from fedi_safety.models.exporting import Weights, export

    export(ARCHITECTURE, Weights(seed=SEED), models, MODEL)


def child_of_torch(options: argparse.Namespace) -> None:
    """Do what the other Python was started for."""
    if options.child == "loop":
        print(json.dumps(plain_loop(options.folder, options.threads, options.device)))
    else:
        export_model(options.folder)


# --- the parent ------------------------------------------------------------------------------------------------------
class Bench:
    """Everything that one run shares."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        """Prepare model, variants, corpora and caches; none of this is measured."""
        from bench.corpus import instance_corpus

        self.options = options
        self.scratch = scratch
        self.device = options.device
        self.precisions: list[str] = options.precisions
        # Conversions and text embeddings go where the corpora are, not to the operator's own data.
        os.environ["XDG_DATA_HOME"] = str(options.work / "clip-data")
        self.models: Path = options.model.parent if options.model else options.work / "clip-models"
        self.model: str = options.model.name if options.model else MODEL
        self.every = instance_corpus(options.work, options.files)
        self.corpus = instance_corpus(options.work, options.corpus_files)
        for folder in (self.every, self.corpus):
            for path in folder.rglob("*"):
                if path.is_file():
                    path.read_bytes()  # into the page cache
        self._prepare_model()
        for precision in {*self.precisions, options.cascade_precision}:
            self.scan("warm", precision, self.every, "--no-cascade", "--limit", "1", detectors="clip")

    def _prepare_model(self) -> None:
        folder = self.models / self.model
        if not folder.is_dir():
            if self.options.torch_python is None:
                raise SystemExit("no model: give --torch-python, or --model FOLDER")
            print(f"exporting {self.model} ...", file=sys.stderr, flush=True)
            self.torch("export", self.models)
        wanted = {*self.precisions, self.options.cascade_precision}
        from fedi_safety.models import variants
        from fedi_safety.models.folder import open_model_folder

        opened = open_model_folder(folder)
        for precision, variant in (("int8", "int8w"), ("fp16", "fp16")):
            if precision in wanted and variant not in opened.variants:
                print(f"making the {variant} variant ...", file=sys.stderr, flush=True)
                variants.make(opened, variant)

    def torch(self, what: str, folder: Path) -> str:
        """Run this file by the other Python; return what it printed."""
        from bench.measure import environment

        command = [
            str(self.options.torch_python), "-P", __file__, "--child", what, "--folder", str(folder),
            "--threads", str(self.options.threads), "--device", self.device,
        ]  # fmt: skip
        done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    def loop(self) -> dict[str, Any]:
        """Run the predecessor's shape of a loop over the files that (a) gets as well."""
        found: dict[str, Any] = json.loads(self.torch("loop", self.every).splitlines()[-1])
        return found

    def tower(self, precision: str) -> dict[str, Any]:
        """Measure the network alone and multiplications beside it, in a process of their own."""
        from bench.measure import environment

        seconds = "1.5" if self.device == "cpu" else "3"
        command = [
            sys.executable, "-P", str(Path(__file__).with_name("gemm.py")), str(self.models / self.model), precision,
            self.device, str(len(os.sched_getaffinity(0))), seconds,
        ]  # fmt: skip
        done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def scan(self, name: str, precision: str, folder: Path, *arguments: str, detectors: str) -> dict[str, Any]:
        """Run a dry scan into a fresh ledger; return its figures with its memory and the ledger's path."""
        from bench.measure import fedi_safety, run

        here = Path(tempfile.mkdtemp(prefix=f"{name}-{precision}-", dir=self.scratch))
        config = here / "config.toml"
        settings = {
            "model": self.model,
            "model_dir": str(self.models),
            "precision": precision,
            "keep_embeddings": "float16",
            "batch": self.options.batch,
        }
        lines = [f"detectors = {json.dumps(detectors.split(','))}", f"device = {json.dumps(self.device)}"]
        # One frame of each picture, as the loop has it: what random weights say comes near to a rule.
        lines += ["[limits]", "more_tiles = 0", "[clip]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        config.write_text("\n".join(lines) + "\n")
        ledger = here / "ledger.db"
        command = (
            "scan",
            str(folder),
            "--dry-run",
            "--json",
            "--quiet",
            "--config",
            str(config),
            "--ledger",
            str(ledger),
        )
        finished = run(fedi_safety(*command, *arguments), cwd=here, watch=True)
        report: dict[str, Any] = json.loads(finished.out.splitlines()[-1])
        connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
        try:
            (summary,) = connection.execute("SELECT summary FROM runs ORDER BY id DESC LIMIT 1").fetchone()
            rows = connection.execute(
                "SELECT c.sha256, e.data FROM embeddings e JOIN contents c ON c.id = e.content_id"
            )
            embeddings = {bytes(sha256): bytes(data) for sha256, data in rows}
        finally:
            connection.close()
        shutil.rmtree(here)
        return {
            "files": report["judged"],
            "seconds": report["seconds"],
            "unscanned": report["unscanned"],
            "detectors": report["detectors"],
            "device": report["device"],
            "stages": json.loads(summary)["stages"],
            "cpu_s": finished.cpu_s,
            "wall_s": finished.wall_s,
            "memory": finished.memory.as_json() if finished.memory else {},
            "embeddings": embeddings,
        }


def cosines(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> dict[str, float]:
    """Return how close the embeddings of the same pictures are, and how close those of different ones are."""
    import numpy as np

    common = sorted(one.keys() & other.keys())
    a, b = (np.stack([np.frombuffer(found[k], "<f2").astype(np.float32) for k in common]) for found in (one, other))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    same = np.einsum("ij,ij->i", a, b)
    among = (a @ a.T)[~np.eye(len(a), dtype=bool)] if len(a) > 1 else np.ones(1)
    return {
        "pictures": len(common),
        "lowest": round(float(same.min()), 6),
        "mean": round(float(same.mean()), 6),
        "between_pictures": round(float(among.mean()), 6),
    }


def interleave(bench: Bench) -> dict[str, Any]:
    """Run everything in turns and return the raw figures."""
    options = bench.options
    found: dict[str, Any] = {"loop": [], "every": {}, "tower": {}, "cascade": []}
    for number in range(options.rounds):
        said = []
        if options.torch_python is not None:
            loop = bench.loop()
            found["loop"].append(loop)
            said.append(f"loop {loop['files'] / loop['seconds']:.3f}")
        for precision in bench.precisions:
            scanned = bench.scan("every", precision, bench.every, "--no-cascade", detectors="clip")
            found["every"].setdefault(precision, []).append(scanned)
            tower = bench.tower(precision)
            found["tower"].setdefault(precision, []).append(tower)
            alone = tower["tower_images_per_second"]
            said.append(f"{precision} {scanned['files'] / scanned['seconds']:.3f} (alone {alone:.3f})")
        cascade = bench.scan("cascade", options.cascade_precision, bench.corpus, detectors="embedded,clip")
        found["cascade"].append(cascade)
        said.append(f"cascade {cascade['files'] / cascade['seconds']:.2f}")
        print(f"round {number + 1}: {', '.join(said)} images/s", flush=True)
    return found


def summary(bench: Bench, found: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """Print and return the figures of all rounds."""
    from bench.measure import Spread

    options = bench.options

    def rates(runs: Sequence[dict[str, Any]]) -> Spread:
        return Spread(tuple(r["files"] / r["seconds"] for r in runs))

    loop = rates(found["loop"]) if found["loop"] else None

    def times(spread: Spread) -> Spread | None:
        return None if loop is None else Spread(tuple(a / b for a, b in zip(spread.values, loop.values, strict=True)))

    print(f"\n{'':24}{'images/s':>24}{'times the loop':>24}{'peak RSS, MB':>14}{'with children':>14}")
    if loop is not None:
        rss = max(r["peak_rss_mb"] for r in found["loop"])
        print(f"{'the loop':24}{loop.text(3):>24}{'1':>24}{rss:14.0f}")
    every: dict[str, Any] = {}
    reference = found["every"].get("fp32", [{}])[0].get("embeddings")
    for precision, runs in found["every"].items():
        spread, ratio = rates(runs), times(rates(runs))
        main = max(r["memory"]["peak_main_rss_mb"] for r in runs)
        tree = max(r["memory"]["peak_rss_mb"] for r in runs)
        said = ratio.text() if ratio else "-"
        print(f"{'every, ' + precision:24}{spread.text(3):>24}{said:>24}{main:14.0f}{tree:14.0f}")
        every[precision] = {
            "images_per_second": spread.as_json(),
            "ratio_to_loop": ratio.as_json() if ratio else None,
            "peak_rss_mb": main,
            "peak_tree_rss_mb": tree,
            "detector": runs[-1]["detectors"]["clip"].split(" concepts(")[0],
            "cosine_to_fp32": cosines(reference, runs[-1]["embeddings"]) if reference and precision != "fp32" else None,
            "thread_ms_per_image": per_image(runs[-1]),
            "cpu_ms_per_image": round(1000 * runs[-1]["cpu_s"] / runs[-1]["files"], 1),
        }
    spread, ratio = rates(found["cascade"]), times(rates(found["cascade"]))
    title = f"cascade, {options.cascade_precision}"
    memory = max(r["memory"]["peak_main_rss_mb"] for r in found["cascade"])
    print(f"{title:24}{spread.text():>24}{ratio.text(1) if ratio else '-':>24}{memory:14.0f}")
    last = found["cascade"][-1]
    share = len(last["embeddings"]) / max(1, last["files"])
    print(f"  clip saw {share:.1%} of {last['files']} pictures; ms of threads' time an image: {per_image(last)}")

    print("\ncosine of the embeddings to fp32's, end to end")
    for precision, figures in every.items():
        if figures["cosine_to_fp32"]:
            c = figures["cosine_to_fp32"]
            among = f"{c['pictures']} pictures, among each other {c['between_pictures']:.4f}"
            print(f"  {precision}: lowest {c['lowest']:.6f}, mean {c['mean']:.6f} ({among})")
    print("\nthe network alone beside multiplications in the same format (best of the run)")
    towers = {}
    for precision, runs in found["tower"].items():
        best = max(runs, key=lambda r: r["tower_gflops"])
        gemm = {title: max(r["gemm_gflops"][title] for r in runs) for title in best["gemm_gflops"]}
        own = best["tower_gflops"] / gemm["tower's shapes"]
        print(
            f"  {precision} ({best['variant']}, {best['runtime']}): {best['tower_images_per_second']} images/s, "
            f"{best['tower_gflops']} GFLOP/s = {own:.0%} of {gemm['tower' + chr(39) + 's shapes']}; all: {gemm}"
        )
        towers[precision] = best | {"gemm_gflops": gemm, "share_of_own_shapes": round(own, 3)}
        towers[precision]["share_of_best"] = round(best["tower_gflops"] / max(gemm.values()), 3)
    result = {
        "benchmark": "clip",
        "machine": about,
        "device": bench.device,
        "model": bench.model,
        "files": options.files,
        "corpus_files": options.corpus_files,
        "rounds": options.rounds,
        "loop": None
        if loop is None
        else {
            "images_per_second": loop.as_json(),
            "peak_rss_mb": round(max(r["peak_rss_mb"] for r in found["loop"]), 1),
        },
        "every": every,
        "tower": towers,
        "cascade": {
            "precision": options.cascade_precision,
            "images_per_second": spread.as_json(),
            "ratio_to_loop": ratio.as_json() if ratio else None,
            "share_seen_by_clip": round(share, 4),
            "peak_rss_mb": memory,
            "thread_ms_per_image": per_image(last),
        },
    }
    if bench.device == "cpu":
        result["targets"] = targets(result)
    else:
        result["gpu"] = gpu(result)
    return result


def per_image(run: dict[str, Any]) -> dict[str, float]:
    """Return milliseconds of threads' time for each file and stage."""
    return {stage: round(1000 * seconds / max(1, run["files"]), 1) for stage, seconds in run["stages"].items()}


def targets(result: dict[str, Any]) -> dict[str, bool]:
    """Compare with what was promised for two cores; print and return what was kept."""
    kept: dict[str, bool] = {}
    for precision, target in TARGETS.items():
        if precision in result["every"] and result["every"][precision]["ratio_to_loop"]:
            kept[f"every picture, {precision}, {target}x"] = (
                result["every"][precision]["ratio_to_loop"]["median"] >= target
            )
    for precision, found in result["tower"].items():
        kept[f"tower, {precision}, {TOWER_TARGET:.0%} of its multiplications"] = (
            found["share_of_own_shapes"] >= TOWER_TARGET
        )
    for precision, target in RSS_TARGETS_MB.items():
        if precision in result["every"]:
            kept[f"memory, {precision}, {target:.0f} MB"] = result["every"][precision]["peak_rss_mb"] <= target
    if result["cascade"]["ratio_to_loop"]:
        kept[f"cascade, {CASCADE_TARGET:.0f}x"] = result["cascade"]["ratio_to_loop"]["median"] >= CASCADE_TARGET
    print("\ntargets")
    for name, yes in kept.items():
        print(f"  {'kept  ' if yes else 'MISSED'} {name}")
    return kept


def gpu(result: dict[str, Any]) -> dict[str, Any]:
    """Name the card, and say which share of its peak the network reaches and what limits a scan."""
    said = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    name = said.stdout.splitlines()[0].strip() if said.returncode == 0 and said.stdout.strip() else "unknown"
    peak = next((tflops for card, tflops in PEAK_TFLOPS.items() if card in name), None)
    found: dict[str, Any] = {"name": name, "peak_fp16_tflops": peak}
    for precision, tower in result["tower"].items():
        share = None if peak is None else round(tower["tower_gflops"] / 1000 / peak, 4)
        found[f"share_of_peak_{precision}"] = share
        end_to_end = result["every"][precision]["images_per_second"]["median"]
        stages = result["every"][precision]["thread_ms_per_image"]
        slowest = max((s for s in stages if not s.startswith("wait")), key=lambda s: stages[s])
        found[f"limited_by_{precision}"] = slowest
        print(
            f"{name}, {precision}: alone {tower['tower_images_per_second']} images/s"
            f"{'' if share is None else f' ({share:.1%} of the published peak)'}, end to end {end_to_end}; "
            f"most of the threads' time goes to {slowest!r}: {stages}"
        )
    return found


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--torch-python",
        type=Path,
        default=Path(__file__).resolve().parents[1] / ".venv-parity/bin/python",
        help="a Python with torch and open_clip, for (p) and the export (default: that of ./dev parity)",
    )
    parser.add_argument("--model", type=Path, help="a model folder instead of ViT-L-14 with random weights")
    parser.add_argument("--device", default="cpu", help="cpu, or a GPU's name such as cuda")
    parser.add_argument("--precisions", help="with commas between (default: fp32,bf16,int8; on GPUs fp16)")
    parser.add_argument("--cascade-precision", help="(c)'s (default: the last of --precisions)")
    parser.add_argument("--files", type=int, help="pictures of (p) and (a) (default: 16; on GPUs 2000)")
    parser.add_argument("--corpus-files", type=int, help="pictures of (c) (default: 400; on GPUs 2000)")
    parser.add_argument("--batch", type=int, default=0, help="pictures the network gets at once; 0: found by itself")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=10, help="of the loop")
    parser.add_argument("--quick", action="store_true", help="4 files, one round: does it run at all")
    parser.add_argument("--work", type=Path, help="folder for corpora and models (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    parser.add_argument("--child", choices=["loop", "export"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child_of_torch(options)
        return
    from bench.corpus import default_work
    from bench.measure import machine, machine_line, write_result

    on_gpu = options.device != "cpu"
    options.work = options.work or default_work()
    options.precisions = (options.precisions or ("fp16" if on_gpu else "fp32,bf16,int8")).split(",")
    options.cascade_precision = options.cascade_precision or options.precisions[-1]
    options.files = options.files or (2000 if on_gpu else 16)
    options.corpus_files = options.corpus_files or (2000 if on_gpu else 400)
    if options.quick:
        options.files, options.corpus_files, options.rounds = 4, 60, 1
    if options.torch_python is not None and not options.torch_python.exists():
        print(f"{options.torch_python}: not there; the loop is left out", file=sys.stderr)
        options.torch_python = None
    about = machine()
    print(machine_line(about))
    with tempfile.TemporaryDirectory(dir=options.work if options.work.is_dir() else None) as name:
        bench = Bench(options, Path(name))
        found = interleave(bench)
        result = summary(bench, found, about)
    write_result("clip", result, options.out)


if __name__ == "__main__":
    main()
