"""The model of a sweep: it loses nothing, agrees with what can be reckoned by hand, and tells money and bends."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))
from bench import ledger_postgresql, scale, scale_runs, scale_tables
from bench import sweep as sweep_bench
from bench.corpus import tiny_corpus
from bench.listing import bounds_of, older_keys
from bench.measure import machine
from bench.rescan import fill
from bench.scale_events import Loop, Pool, Process, Queue
from bench.scale_model import Costs, Ledger, Machine, Store, Sweep, sweep

from support.servers.postgresql import PostgresqlServer

COSTS = Costs(
    start=0.5,
    list=1e-5,
    look_up=2e-5,
    known=3e-5,
    fetch=1e-3,
    hand_over=5e-4,
    decode=2e-3,
    judge=7e-4,
    score=0.04,
    record=3e-4,
    act=4e-4,
    commit=0.0,
)
ALL_NEW = COSTS.list + COSTS.look_up + COSTS.fetch + COSTS.hand_over + COSTS.decode + COSTS.judge + COSTS.score
ALL_NEW += COSTS.record


def ends(pool: Pool, loop: Loop, tasks: list[tuple[float, int]]) -> list[float]:
    """When each of these tasks, all begun at 0, is done."""
    found = [0.0] * len(tasks)

    def task(number: int, work: float, lane: int) -> Process:
        yield pool.use(work, lane)
        found[number] = loop.now

    for number, (work, lane) in enumerate(tasks):
        loop.begin(task(number, work, lane))
    loop.run()
    return found


def test_tasks_share_servers_evenly_and_take_one_each_at_most() -> None:
    loop = Loop()
    assert ends(Pool(loop, 1), loop, [(1, 0), (2, 0)]) == pytest.approx([2, 3])
    loop = Loop()
    assert ends(Pool(loop, 4), loop, [(1, 0), (2, 0)]) == pytest.approx([1, 2])
    loop = Loop()
    assert ends(Pool(loop, 2), loop, [(2, 0), (2, 0), (2, 0)]) == pytest.approx([3, 3, 3])


def test_threads_of_one_interpreter_take_one_server_together() -> None:
    loop = Loop()
    # Two threads of one interpreter and one task beside them, on three servers: only the threads wait for each other.
    assert ends(Pool(loop, 3, 1), loop, [(1, 1), (1, 1), (1.5, 0)]) == pytest.approx([2, 2, 1.5])
    loop = Loop()
    # Two interpreters and a task on one server: each has a third of it, the threads of the first a sixth each.
    assert ends(Pool(loop, 1, 2), loop, [(1, 1), (1, 1), (1, 2), (1, 0)]) == pytest.approx([4, 4, 3, 3])


def test_a_full_queue_holds_its_producer_and_an_ended_one_lets_its_takers_go() -> None:
    loop = Loop()
    queue = Queue(loop, 2, 1)
    put: list[float] = []
    taken: list[tuple[float, list[int]]] = []

    def producer() -> Process:
        for number in range(5):
            yield queue.put(number)
            put.append(loop.now)
        queue.finish()

    def consumer() -> Process:
        while items := (yield queue.take(2)):
            yield loop.wait(10)
            taken.append((loop.now, items))

    loop.begin(producer())
    loop.begin(consumer())
    assert loop.run() == 30
    assert [item for _, items in taken for item in items] == [0, 1, 2, 3, 4]
    assert put[-1] >= 10  # there was no room before


def test_processes_that_wait_for_each_other_are_told_of() -> None:
    loop = Loop()

    def stuck() -> Process:
        yield Queue(loop, 1, 1).take()

    loop.begin(stuck())
    with pytest.raises(RuntimeError, match="1 processes of the model wait"):
        loop.run()


def test_on_one_processor_a_sweep_takes_the_sum_of_all_its_work() -> None:
    found = sweep(COSTS, Machine(1), Store(), Ledger(), Sweep(10_000), lots=200)
    assert found.seconds == pytest.approx(COSTS.start + 10_000 * ALL_NEW, rel=0.01)
    assert found.bend == "processors"
    assert found.cpu_s == pytest.approx(found.seconds, rel=0.01)


def test_where_nothing_is_new_one_interpreter_lists_looks_up_and_counts() -> None:
    known = COSTS.list + COSTS.look_up + COSTS.known
    found = sweep(COSTS, Machine(16, jobs=16), Store(), Ledger(), Sweep(1_000_000, new=0), lots=200)
    assert found.seconds == pytest.approx(COSTS.start + 1e6 * known, rel=0.01)
    assert found.counts.get("fetched", 0) == 0


def test_where_nothing_is_new_no_decoder_is_begun() -> None:
    costs = replace(COSTS, start_known=0.1)
    known, new = (sweep(costs, Machine(2.0), Store(), Ledger(), Sweep(100, new=share)).seconds for share in (0, 1))
    assert known < COSTS.start < new
    assert costs.scaled(2.0).start_known == 0.05


def test_what_the_slowest_stage_takes_holds_a_sweep_up() -> None:
    """With processors to spare, two decoders with their threads, or the requests of eight fetchers, say how long."""
    slow = replace(COSTS, decode=0.5)
    found = sweep(slow, Machine(64, jobs=2), Store(), Ledger(), Sweep(2_000), lots=500)
    assert found.seconds == pytest.approx(2_000 * (0.5 + COSTS.hand_over) / 2, rel=0.03)
    found = sweep(COSTS, Machine(64, jobs=8), Store(get_s=0.8, fetchers=8), Ledger(), Sweep(2_000), lots=500)
    assert found.seconds == pytest.approx(2_000 * 0.8 / 8, rel=0.03)
    assert found.bend == "fetch"


def test_what_a_small_sweep_takes_longer_than_its_interpreter_is_waited_for_by_its_decoder() -> None:
    costs = replace(COSTS, decode=1e-3, score=0.0)
    interpreter = costs.list + costs.look_up + costs.fetch + costs.hand_over + costs.judge + costs.record
    more = scale_runs.MANY - scale_runs.FEW
    assert scale_runs.with_turns(costs, 2.0, more * interpreter).turn < 1e-4
    slow = scale_runs.with_turns(costs, 2.0, more * 2 * interpreter)
    assert slow.turn > 1e-4

    def an_object(jobs: int) -> float:
        """What each of 20,000 further objects takes."""
        place = Machine(2.0, jobs=jobs)
        few, many = (sweep(slow, place, Store(), Ledger(), Sweep(n), 500).seconds for n in (5_000, 25_000))
        return (many - few) / 20_000

    assert an_object(1) == pytest.approx(2 * interpreter, rel=0.05)
    assert an_object(2) < 1.2 * interpreter  # a second decoder is at work meanwhile


def test_nothing_is_lost_on_the_way() -> None:
    work = Sweep(100_000, new=0.5, copies=0.25, condemned=0.01, bytes=1000, shards=6, acts=True)
    found = sweep(COSTS, Machine(4, 3, 2, count=2), Store(page_s=0.1), Ledger(2, trip_s=1e-4), work, lots=120)
    counts = found.counts
    expected = {
        "listed": 100_000,
        "known": 50_000,
        "fetched": 50_000,
        "decoded": 37_500,
        "recorded": 50_000,
        "acts": 500,
        "bytes": 5e7,
        "pages": 100,
    }
    assert {name: counts[name] for name in expected} == pytest.approx(expected)
    assert found.ledger_bytes == pytest.approx(50_000 * Ledger().object_bytes)


def test_more_objects_take_longer_and_how_many_are_in_a_lot_matters_little() -> None:
    place, store = Machine(2, jobs=2), Store(get_s=0.02, fetchers=8)
    taken = [
        sweep(COSTS, place, store, Ledger(), Sweep(n), lots=300).seconds for n in (1000, 10_000, 100_000, 1_000_000)
    ]
    assert taken == sorted(taken)
    assert taken[3] == pytest.approx(10 * taken[2], rel=0.02)
    fine = sweep(COSTS, place, store, Ledger(), Sweep(100_000), lots=1200).seconds
    assert taken[2] == pytest.approx(fine, rel=0.02)


def test_more_machines_are_quicker_until_the_ledgers_lock_is_always_taken() -> None:
    server = Ledger(cores=8, serial=True)
    cheap = replace(COSTS, score=0.0, decode=0.0, record=0.0, commit=0.3)
    rates = []
    for count in (1, 2, 8):
        work = Sweep(2_000_000, shards=2 * count)
        found = sweep(cheap, Machine(8, jobs=2, count=count), Store(), server, work, lots=100 * count)
        rates.append(2_000_000 / found.seconds)
    assert rates[1] > 1.7 * rates[0]
    assert rates[2] == pytest.approx(512 / 0.3, rel=0.1)
    assert found.bend == "ledger's lock"


def test_a_slow_pass_commits_once_a_second_and_a_quick_one_once_in_512() -> None:
    slow = sweep(COSTS, Machine(1), Store(get_s=1, fetchers=1), Ledger(), Sweep(200), lots=200)
    assert slow.counts["commits"] == pytest.approx(200, rel=0.1)
    quick = replace(COSTS, fetch=0, hand_over=0, decode=0, judge=0, score=0, record=1e-5)
    found = sweep(quick, Machine(4), Store(), Ledger(), Sweep(512_000), lots=300)
    assert found.counts["commits"] == pytest.approx(1000, rel=0.1)


def test_an_index_that_does_not_fit_into_memory_is_waited_for() -> None:
    small = Ledger(memory_bytes=1e6, index_bytes=50, read_s=1e-2, known_objects=1e9)
    fits = replace(small, memory_bytes=1e12)
    cheap = replace(COSTS, score=0.0)
    taken = [sweep(cheap, Machine(8, jobs=8), Store(), ledger, Sweep(10_000), 200).seconds for ledger in (fits, small)]
    assert taken[1] > 1.5 * taken[0]


def test_money_is_hours_requests_and_bytes_at_their_prices() -> None:
    work = Sweep(1_000_000, bytes=2000)
    found = sweep(COSTS, Machine(4, jobs=4), Store(), Ledger(object_bytes=400), work, lots=100)
    prices = {"get_a_thousand": 0.5, "list_a_thousand": 2.0, "out_a_gb": 3.0}
    told = scale.facts(found, work, prices, 10.0)
    assert told["gb"] == pytest.approx(2.0)
    assert told["requests"] == pytest.approx(1_001_000)
    assert told["ledger_gb"] == pytest.approx(0.4)
    expected = {"machines": found.seconds / 360, "requests": 500 + 2, "transfer": 6.0}
    assert told["a_million"] == pytest.approx(expected)


def test_the_inputs_can_be_used_and_be_said_otherwise() -> None:
    options = argparse.Namespace(inputs=scale.INPUTS, set=["prices/out_a_gb=0", "machines/one H100/cores=52"])
    inputs = scale.read_inputs(options)
    assert (inputs["prices"]["out_a_gb"], inputs["machines"]["one H100"]["cores"]) == (0, 52)
    for place in (inputs["prices"], inputs["store"], inputs["ledger_file"], inputs["server"]):
        assert place["source"]
    assert all("assumed" in about["source"] for about in inputs["machines"].values())
    options.set = ["prices/gold=1"]
    with pytest.raises(SystemExit, match="there is no such input"):
        scale.read_inputs(options)


def test_every_machine_and_number_of_workers_is_in_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "TOLD_LOTS", 50)
    options = argparse.Namespace(inputs=scale.INPUTS, set=[])
    inputs = scale.read_inputs(options)
    inputs["machines"] = {n: inputs["machines"][n] for n in ("two-core VPS", "16 cores, 4 workers")}
    told = scale.by_machine(COSTS, inputs, 420.0, 270_000, [1e6])
    run = {
        "run": "new:2",
        "objects": 1000,
        "measured_s": 10.0,
        "predicted_s": 11.0,
        "off": 0.1,
        "measured_cpu_s": 9.0,
        "predicted_cpu_s": 9.0,
        "others_cores": 0.5,
    }
    result = {"held": [run], "machines": told, "workers": []}
    result["workers"] = [{"machines": 3, "new": 1.0, **told[0]}]
    text = scale_tables.markdown(result)
    assert "| all new, --jobs 2 | 1,000 | 10.0 | 11.0 | +10% | 9.0 | 9.0 | 0.50 |" in text
    assert text.count("| two-core VPS |") == 3 and text.count("| 16 cores, 4 workers |") == 3
    assert "One ledger on PostgreSQL" in scale_tables.table(result)


def test_a_sweep_is_held_against_costs_measured_before_and_behind_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow, quick = (replace(COSTS, fetch=seconds) for seconds in (0.003, 0.001))
    measured = iter([slow, quick, quick])
    told: dict[str, object] = {"seconds": 1.0, "main_cpu_s": 1.0, "child_cpu_s": 1.0, "others_cores": 0.0}
    known_of_ledger = []

    def swept(_folder: Path, ledger: Path, _jobs: int) -> dict[str, object]:
        known = 0
        if ledger.exists():
            with sqlite3.connect(ledger) as connection:
                known = connection.execute("SELECT count(*) FROM objects").fetchone()[0]
        ledger.touch()
        known_of_ledger.append(known)
        return told | {"judged": 40 - known, "already_judged": known}

    monkeypatch.setattr(scale, "measured_costs", lambda _work, _jobs: (next(measured), {"others_cores": 0.1}))
    monkeypatch.setattr(scale, "swept", swept)
    monkeypatch.setattr(scale, "filled", fill)
    found, costs = scale.held(tmp_path, 40, ["new:1", "tenth:1"])
    assert known_of_ledger == [0, 36]
    assert [each for each, _ in costs] == [slow, quick, quick]
    between, later = (
        scale.predicted(replace(COSTS, fetch=seconds), machine()["cores"], 40, run).seconds
        for seconds, run in ((0.002, "new:1"), (0.001, "tenth:1"))
    )
    assert [run["predicted_s"] for run in found] == [round(between, 2), round(later, 2)]


def test_a_ledger_that_is_filled_has_nothing_left_to_decide(tmp_path: Path) -> None:
    """Deciding contents anew took a tenth of a sweep that the model knew nothing of."""
    folder, ledger = tiny_corpus(tmp_path, 8), tmp_path / "ledger.db"
    scale_runs.filled(folder, ledger, 4)
    with sqlite3.connect(ledger) as connection:
        count = "SELECT count(*) FROM events WHERE kind = 'redecided'"
        assert connection.execute(count).fetchone()[0] == 1
        assert scale_runs.swept(folder, ledger)["judged"] == 2
        assert connection.execute(count).fetchone()[0] == 1


def test_of_sweeps_that_find_nothing_new_the_median_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Single ones last seconds, and are up to a fifth apart."""
    seconds = iter([4.7, 2.1, 2.3])
    monkeypatch.setattr(scale_runs, "swept", lambda *_: {"seconds": next(seconds)})
    assert scale_runs.known_sweep(tmp_path, tmp_path / "ledger.db")["seconds"] == 2.3


def test_sweeps_that_were_held_before_stay_beside_those_of_now() -> None:
    def run(name: str, objects: int, off: float) -> dict[str, object]:
        return {"run": name, "objects": objects, "off": off}

    earlier = [run("known:1", 100, 0.2), run("new:1", 6000, 0.1)]
    found = scale.with_earlier(earlier, [run("known:1", 100, 0.0), run("new:1", 500, 0.3), run("new:2", 6000, 0.4)])
    assert [(each["run"], each["objects"], each["off"]) for each in found] == [
        ("new:1", 500, 0.3),
        ("new:1", 6000, 0.1),
        ("new:2", 6000, 0.4),
        ("known:1", 100, 0.0),
    ]


def test_what_ray_takes_once_and_of_each_object_tells_how_long_a_pass_must_be() -> None:
    one = sweep_bench.line(100, [3.0, 3.2, 2.9], 500, [11.0, 11.2, 10.0])
    assert one.once_s == pytest.approx(1.0) and one.object_s == pytest.approx(0.02)
    ray = sweep_bench.Line(7.6, 0.021)
    assert sweep_bench.long_enough(one, ray) == pytest.approx(6500)
    assert ray.of(6500) / one.of(6500) == pytest.approx(1.1)
    assert sweep_bench.long_enough(one, sweep_bench.Line(7.6, 0.023)) is None
    assert sweep_bench.long_enough(one, one) == 0


def test_a_pages_figures_are_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- figures: ./dev bench scale --page -->\nold\n<!-- end of figures -->\n\nafter\n")
    for _ in range(2):
        scale_tables.write_page(page, "| table |\n", "Measured here.")
    text = page.read_text()
    assert text.startswith("# Title\n") and text.endswith("<!-- end of figures -->\n\nafter\n")
    assert "old" not in text and text.count("| table |") == 1 and "\n\nMeasured here.\n\n| table |\n" in text
    assert scale.PAGE.read_text("utf-8").count("<!-- figures: ./dev bench scale --page -->") == 1


def test_what_was_measured_of_a_server_takes_the_place_of_what_was_assumed(tmp_path: Path) -> None:
    told = {
        "record": {"server_us": {"median": 200.0}, "to_sqlite_cpu": {"median": 0.5}},
        "lookups": {
            "server_us": {"median": 20.0},
            "one_cpu_us": {"median": 60.0},
            "sqlite_cpu_us": {"median": 40.0},
        },
    }
    (tmp_path / "measured.json").write_text(json.dumps(told))
    assumed = scale.read_inputs(argparse.Namespace(inputs=scale.INPUTS, set=[]))["server"]
    found = scale.measured_server(assumed, tmp_path / "measured.json")
    assert (found["record_s"], found["record_times"]) == (pytest.approx(2e-4), 2.0)
    assert (found["look_up_s"], found["look_up_times"]) == (pytest.approx(2e-5), 1.5)
    assert (found["cores"], found["object_bytes"]) == (assumed["cores"], assumed["object_bytes"])
    assert "record_s, " in found["source"] and "as measured; the rest assumed" in found["source"]


def test_shards_begin_and_end_between_keys_and_have_as_many_of_them() -> None:
    keys = sorted(older_keys(5000))
    bounds = bounds_of(keys, 4)
    assert len(bounds) == 5 and (bounds[0], bounds[-1]) == ("", "")
    found = [sum(a < key and (not b or key <= b) for key in keys) for a, b in pairwise(bounds)]
    assert found == [1250] * 4


@pytest.mark.long
def test_a_real_sweep_tells_what_each_of_its_stages_took(tmp_path: Path) -> None:
    folder = tiny_corpus(tmp_path, 60)
    first = scale_runs.swept(folder, tmp_path / "ledger.db", jobs=2)
    again = scale_runs.swept(folder, tmp_path / "ledger.db")
    assert (first["judged"], again["judged"], again["already_judged"]) == (60, 0, 60)
    assert all(first[stage] > 0 for stage in scale_runs.STAGES)
    assert sum(first[stage] for stage in scale_runs.STAGES) < first["main_cpu_s"]
    assert first["child_cpu_s"] > again["child_cpu_s"]
    json.dumps(first)


@pytest.mark.long
@pytest.mark.needs("postgresql")
def test_what_is_generated_is_true_to_the_ledger(
    ledger_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`verified` ends where `ledger verify` finds anything, and where it does not find a counter that was spoiled."""
    monkeypatch.setattr(ledger_postgresql, "SAMPLE", 2_000)
    found = ledger_postgresql.verified(ledger_server)
    assert found["objects"] == 12_000
    assert "the ledger has" in found["spoiled"]
