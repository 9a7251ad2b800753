"""Numbers: names as Prometheus wants them, exact counts of what was done, a door to fetch them."""

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from typing import get_args

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fibstream.core.dataset import Dataset, Model
from fibstream.core.errors import Poison, WrongUse
from fibstream.core.events import ObjectChanged, Record
from fibstream.core.fold import NoFold
from fibstream.runtime.loops import drive
from fibstream.runtime.site import Site
from fibstream.runtime.worker import Outcome, Worker
from fibstream.services.inference.service import describe
from fibstream.services.ingest.edges.landing import LandingOutcome
from fibstream.store.store import Store
from fibstream.telemetry import metrics as table
from fibstream.telemetry.metrics import METRICS, SILENT, PlannerMetrics, Telemetry
from fibstream.telemetry.prometheus import MAX_LABEL_VALUES, OTHER, REQUESTS, Prometheus

from ..runtime.line import CHUNKS, SHAPE, STAGE, Line, blur, make_stage, raw_item, turn, volume

MIDDLE = (1, 0, 0)
BLUR = {"service": "blur", "stage": "prediction"}


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


@dataclass
class Counted(Line):
    """A line whose service keeps numbers."""

    clock: Clock = field(default_factory=Clock)

    def __post_init__(self):
        super().__post_init__()
        self.numbers = Prometheus("blur", "1.0", self.clock, lambda: 1e9 + self.clock())

    @property
    def site(self):
        return replace(super().site, telemetry=self.numbers)

    def worker(self, stage=None, grid=None):
        store = Store(self.files, grid or self.grid)
        site = Site("d", store, self.bus, "1.0", self.numbers)
        return Worker(site, [stage or self.stage], lambda: self.grid)

    def value(self, metric, suffix="", **labels):
        return self.numbers.registry.get_sample_value(metric.name + suffix, labels)

    def count(self, metric, **labels):
        """Return a number of the service itself; of a histogram, how many values it has."""
        suffix = "_count" if metric.kind == "histogram" else ""
        names = {label.name for label in metric.labels}
        given = {k: v for k, v in BLUR.items() if k in names} | labels
        return self.value(metric, suffix, **given)

    def sum(self, metric, **labels):
        return self.value(metric, "_sum", **BLUR, **labels)

    def outcomes(self):
        every = {o: self.count(table.TASKS, outcome=o) for o in get_args(Outcome)}
        return {outcome: number for outcome, number in every.items() if number}


@pytest.fixture
def line():
    made = Counted()
    made.land()
    return made


@pytest.fixture
def numbers():
    return Prometheus("blur", "1.0")


def samples(registry):
    """Return every series with its value."""
    return {
        (s.name, *sorted(s.labels.items())): s.value
        for family in registry.collect()
        for s in family.samples
    }


# -- the table -------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rules_of_prometheus(metric):
    total = "_total" if metric.kind == "counter" else ""
    assert metric.name.startswith("fibstream_")
    assert metric.name.endswith(f"_{metric.unit}{total}")
    assert metric.name == metric.name.lower()
    scaled = ("milli", "micro", "_ms", "_us", "minutes", "hours", "mega", "kilo", "percent", "_mb")
    assert not any(word in metric.name for word in scaled)  # base units
    assert (metric.unit == "seconds") == (metric.kind == "histogram" or "stamp" in metric.name)
    assert (metric.unit == "info") == metric.name.endswith("_info")
    assert metric.help.endswith(".")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_labels_are_bounded(metric):
    names = [label.name for label in metric.labels]
    assert len(set(names)) == len(names)
    for label in metric.labels:
        assert bool(label.values) != bool(label.source), label  # a list, or where it comes from
        assert label.name not in {"chunk", "index", "object", "id", "dataset", "key", "le"}
        assert len(set(label.values)) == len(label.values) <= MAX_LABEL_VALUES
    assert names[:1] != ["service"] or metric.labels[0] is table.SERVICE


def test_names_are_unique():
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize(
    "metric", [m for m in METRICS if m.kind == "histogram"], ids=lambda m: m.name
)
def test_buckets_reach_from_five_milliseconds_to_ten_minutes(metric):
    assert metric.buckets[0] <= 0.005 and metric.buckets[-1] >= 600
    assert list(metric.buckets) == sorted(set(metric.buckets))
    steps = [b / a for a, b in zip(metric.buckets, metric.buckets[1:], strict=False)]
    assert max(steps) <= 7  # a quantile is not better than its bucket is narrow


def test_labels_have_the_words_of_the_code():
    assert table.OUTCOME.values == get_args(Outcome)
    assert table.LANDING.values == (*get_args(LandingOutcome), "refused")
    assert table.CODE.values == tuple(code.name for code in grpc.StatusCode)


# -- keeping numbers -------------------------------------------------------------------------------


def test_a_value_that_a_label_does_not_have_is_folded(numbers):
    numbers.called("Predict", "OK", 0.1)
    numbers.called("Predict", "42", 0.1)
    numbers.add(table.DEAD_LETTERS, reason="boredom")
    found = samples(numbers.registry)
    service = ("service", "blur")
    requests = table.GRPC_REQUESTS.name
    assert found[requests, ("code", "OK"), ("method", "Predict"), service] == 1
    assert found[requests, ("code", OTHER), ("method", "Predict"), service] == 1
    assert found[table.DEAD_LETTERS.name, ("reason", OTHER), service] == 1


def test_an_open_label_is_cut_at_its_limit_and_forgets_the_rest(numbers):
    before = len(samples(numbers.registry))
    for number in range(10 * MAX_LABEL_VALUES):
        numbers.add(table.OPEN_OBJECTS, organelle=f"recipe{number}")
    kept = len(numbers._series)
    found = samples(numbers.registry)
    assert len(found) - before == MAX_LABEL_VALUES + 1
    assert found[table.OPEN_OBJECTS.name, ("organelle", OTHER)] == 9 * MAX_LABEL_VALUES
    numbers.add(table.OPEN_OBJECTS, organelle="recipe0")
    numbers.add(table.OPEN_OBJECTS, organelle="one more")
    assert len(numbers._series) == kept


@pytest.mark.parametrize("labels", [{}, {"stage": "raw"}, {"stage": "raw", "chunk": "1"}])
def test_labels_that_a_metric_does_not_have_are_a_bug(numbers, labels):
    with pytest.raises(AssertionError):
        numbers.add(table.TASKS, **labels)


def test_an_alarm_sees_the_first_event(numbers):
    found = samples(numbers.registry)
    for metric, labels in (
        (table.NONDETERMINISTIC, {}),
        (table.CONSUMER_STALLS, {}),
        (table.DEAD_LETTERS, {"reason": "poison"}),
        (table.DEAD_LETTERS, {"reason": "crashed"}),
    ):
        place = metric.name, *sorted({"service": "blur", **labels}.items())
        assert found[place] == 0


def test_outcomes_of_tasks_are_there_before_the_first_task(line):
    line.worker()
    assert [line.count(table.TASKS, outcome=o) for o in get_args(Outcome)] == [0, 0, 0, 0]


def test_services_of_one_process_keep_their_numbers_apart(numbers):
    other = numbers.of("refine")
    numbers.add(table.CONSUMER_STALLS)
    other.add(table.CONSUMER_STALLS, 2)
    other.add(table.OPEN_OBJECTS, organelle="mito")
    found = samples(numbers.registry)
    assert found[table.CONSUMER_STALLS.name, ("service", "blur")] == 1
    assert found[table.CONSUMER_STALLS.name, ("service", "refine")] == 2
    assert found == samples(other.registry) | process(found)


def process(found):
    """Return what the process itself does, which changes by the moment."""
    return {place: value for place, value in found.items() if place[0].startswith("process_")}


def test_threads_lose_no_count(numbers):
    def work():
        for number in range(2000):
            numbers.add(table.OPEN_OBJECTS, organelle=f"m{number % 4}")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = samples(numbers.registry)
    assert [found[table.OPEN_OBJECTS.name, ("organelle", f"m{i}")] for i in range(4)] == [2000] * 4


def test_version_and_process_are_told(numbers):
    found = samples(numbers.registry)
    assert found[table.BUILD_INFO.name, ("version", "1.0")] == 1
    assert found["process_resident_memory_bytes",] > 1e6
    assert not any(name.endswith("_created") for name, *_ in found)


def test_the_networks_of_a_dataset_are_told(numbers):
    model = Model(
        name="mito", classes=("mito",), sha256="ab" * 32, spec={},
        profile={"runtime": "onnxruntime 1.30", "precision": "fp32", "tile": "1x1x1"},
    )  # fmt: skip
    dataset = Dataset(
        name="d", shape=SHAPE, chunk=(4, 4, 4), dtype="uint8", voxel_size_nm=(8, 8, 8),
        contrast=(0, 255), models=(model,),
    )  # fmt: skip
    describe(dataset, numbers)
    labels = {
        "model": "mito", "sha256": "ab" * 32,
        "runtime": "onnxruntime 1.30", "precision": "fp32",
    }  # fmt: skip
    assert numbers.registry.get_sample_value("fibstream_model_info", labels) == 1


def test_silence_takes_everything_and_costs_no_clock():
    assert Line().site.telemetry is SILENT
    silent = Telemetry()
    assert silent.of("refine") is silent
    assert silent.now() == 0
    silent.laps(table.TASK_SECONDS)("read")
    silent.add(table.TASKS)
    silent.set(table.QUEUE, 1)
    silent.stamp(table.LAST_COMMIT)
    silent.observe(table.FRESHNESS, 1)
    silent.called("Predict", "OK", 1)
    assert vars(silent) == {}


# -- the worker ------------------------------------------------------------------------------------


def test_every_outcome_is_counted_once(line):
    tasks = line.tasks()
    for task in tasks.values():
        line.handle(task)
    assert line.outcomes() == {"computed": 3}
    line.handle(tasks[MIDDLE])
    assert line.outcomes() == {"computed": 3, "reused": 1}
    line.handle(replace(tasks[MIDDLE], key="f" * 32))
    line.land(MIDDLE, raw=volume(1))
    line.handle(tasks[MIDDLE])
    assert line.outcomes() == {"computed": 3, "reused": 1, "dropped": 1} | {"reused": 2}
    line.handle(tasks[0, 0, 0])
    assert line.outcomes() == {"computed": 3, "reused": 3, "dropped": 1}


def test_a_task_that_fails_is_counted_as_that(line):
    def fail(block):
        raise Poison("NaN")

    line.handle(line.tasks()[MIDDLE], make_stage(fail))
    assert line.outcomes() == {"failed": 1}
    assert line.count(table.TASK_SECONDS, step="read") == 1
    assert line.count(table.TASK_SECONDS, step="compute") is None


def test_each_step_is_timed_once_in_a_task(line):
    def slow(block):
        line.clock.seconds += 2
        return blur(block)

    put, publish, open_ = line.files.put, line.bus.publish, line.files.open

    def slower(seconds, function):
        def call(*arguments):
            line.clock.seconds += seconds
            return function(*arguments)

        return call

    task = line.tasks()[MIDDLE]
    line.files.open, line.files.put = slower(0.25, open_), slower(4, put)
    line.bus.publish = slower(16, publish)
    line.handle(task, make_stage(slow))
    took = {s: line.sum(table.TASK_SECONDS, step=s) for s in ("compute", "write", "publish")}
    assert took == {"compute": 2, "write": 8, "publish": 16}  # two objects are put
    opened = line.sum(table.TASK_SECONDS, step="read") / 0.25
    assert opened == int(opened) >= 4  # its own two objects and three inputs
    for step in ("read", "compute", "write", "publish"):
        assert line.count(table.TASK_SECONDS, step=step) == 1
    line.handle(task, make_stage(slow))  # reused: it reads and publishes
    counts = {s: line.count(table.TASK_SECONDS, step=s) for s in table.STEP.values}
    assert counts == {"queue": None, "read": 2, "compute": 1, "write": 1, "publish": 2}


def test_a_lost_input_is_a_suspect_of_its_own_stage(line):
    task = line.tasks()[MIDDLE]
    line.files.delete(raw_item(MIDDLE).path)
    line.handle(task)
    assert line.outcomes() == {"dropped": 1}
    assert line.count(table.SUSPECTS, stage="raw") == 1
    assert line.count(table.SUSPECTS, stage="prediction") is None


def test_the_last_record_has_its_time(line):
    assert line.count(table.LAST_COMMIT) is None
    line.handle(line.tasks()[MIDDLE])
    line.clock.seconds += 50
    assert line.count(table.LAST_COMMIT) == 1e9 + 100


def test_a_whole_run_gives_exact_counts():
    line = Counted()
    planner = line.planner()
    line.land()
    turn(planner)
    planner.update_gauges()
    assert line.count(table.QUEUE) == 3
    assert line.work() == ["computed"] * 3
    planner.update_gauges()
    assert (line.count(table.QUEUE), line.count(table.LEDGER_LAG)) == (0, 3)
    line.clock.seconds += 7
    turn(planner, reconcile=True)
    planner.update_gauges()
    assert line.count(table.LEDGER_LAG) == 0
    assert line.outcomes() == {"computed": 3}
    assert line.count(table.FRESHNESS) == 3
    assert line.sum(table.FRESHNESS) == 21
    assert line.count(table.RECONCILES, found="nothing") == 1
    assert line.count(table.RECONCILES, found="differences") == 0
    assert line.count(table.DUPLICATE_TASKS) == line.count(table.DUPLICATE_RESULTS) == 0
    assert line.count(table.NONDETERMINISTIC) == 0
    assert planner.idle


# -- the planner -----------------------------------------------------------------------------------


def test_freshness_is_from_the_first_landing_to_the_first_output():
    line = Counted()
    planner = line.planner()
    line.land()
    turn(planner)
    line.clock.seconds += 3
    line.work()
    turn(planner)
    line.clock.seconds += 1000
    line.land(raw=volume(1))  # acquired again: not counted twice
    turn(planner)
    line.work()
    turn(planner)
    assert (line.count(table.FRESHNESS), line.sum(table.FRESHNESS)) == (3, 9)


def test_freshness_of_what_landed_before_the_planner_started_is_not_known(line):
    planner = line.planner()
    turn(planner)
    line.work()
    turn(planner)
    assert planner.frontier.recorded == 3
    assert line.count(table.FRESHNESS) is None


def test_what_never_landed_has_no_freshness():
    line = Counted()
    planner = line.planner()
    line.land(MIDDLE, raw=False)
    line.land((0, 0, 0), (2, 0, 0))
    turn(planner)
    line.work()
    turn(planner)
    assert planner.frontier.recorded == 3
    assert line.count(table.FRESHNESS) == 2


def test_a_chunk_that_failed_leaves_no_clock_running(line):
    planner = line.planner()
    line.land(MIDDLE, raw=volume(1))
    watch = PlannerMetrics(line.numbers, [STAGE])
    watch.live = True
    watch.landed(MIDDLE)
    line.clock.seconds += 5
    watch.recorded(Record(STAGE, MIDDLE, "failed", "k"), None)
    watch.recorded(Record(STAGE, MIDDLE, "ready", "k", {"blur": "a"}), None)
    assert line.count(table.FRESHNESS) is None
    assert planner.metrics is not watch


def test_a_task_that_is_sent_again_is_a_duplicate(line):
    planner = line.planner()
    turn(planner)
    assert line.count(table.DUPLICATE_TASKS) == 0
    turn(planner, reconcile=True)  # doubts what is under way
    assert line.count(table.DUPLICATE_TASKS) == 3
    line.work()
    turn(planner)
    line.land(MIDDLE, raw=volume(1))
    turn(planner)
    assert line.count(table.DUPLICATE_TASKS) == 3  # other keys
    assert line.count(table.DUPLICATE_RESULTS) == 0


def test_a_task_for_another_reason_is_no_duplicate(line):
    planner = line.planner()
    turn(planner)
    line.land(raw=volume(1))
    turn(planner)  # other keys, though nothing was recorded under the first
    line.work()
    turn(planner)
    line.site.publish(Record(STAGE, MIDDLE, "suspect"))
    turn(planner)  # the same key, which was recorded in between
    assert [task.index for task in line.queue()] == [MIDDLE]
    assert line.count(table.DUPLICATE_TASKS) == 0


def test_raw_that_lands_again_is_no_result(line):
    planner = line.planner()
    line.land(MIDDLE)
    turn(planner)
    line.land(MIDDLE)
    turn(planner)
    assert line.count(table.DUPLICATE_RESULTS) == 0


def test_a_result_that_is_said_again_is_a_duplicate(line):
    planner = line.planner()
    turn(planner)
    line.work()
    turn(planner)
    (record,) = (r for r in line.ledger(STAGE) if r.index == MIDDLE)
    line.site.publish(record)
    turn(planner)
    assert line.count(table.DUPLICATE_RESULTS) == 1
    line.site.publish(Record(STAGE, MIDDLE, "suspect"))
    turn(planner)
    line.work()
    turn(planner)
    assert line.count(table.DUPLICATE_RESULTS) == 1  # asked for: its record was taken back
    assert line.count(table.NONDETERMINISTIC) == 0


@pytest.mark.parametrize("doubted", [False, True])
def test_one_key_with_two_contents_is_an_error(line, caplog, doubted):
    planner = line.planner()
    turn(planner)
    line.work()
    turn(planner)
    (record,) = (r for r in line.ledger(STAGE) if r.index == MIDDLE)
    if doubted:  # the record that it contradicts is gone from the ledger
        line.site.publish(Record(STAGE, MIDDLE, "suspect"))
        turn(planner)
    line.site.publish(replace(record, hashes={**record.hashes, "blur": "0" * 32}))
    turn(planner)
    assert line.count(table.NONDETERMINISTIC) == 1
    assert line.count(table.DUPLICATE_RESULTS) == 0
    (said,) = (r.getMessage() for r in caplog.records if r.levelname == "ERROR")
    assert f"{STAGE} {MIDDLE} is not deterministic" in said and record.key in said


def test_a_kernel_that_is_not_deterministic_is_found_by_its_own_planner_alone(line, caplog):
    rng = np.random.default_rng(0)

    def noise(block):
        return blur(block) | {"blur": rng.integers(0, 9, block.core.shape).astype(np.uint8)}

    line.stage = make_stage(noise)
    planner, ingest = line.planner(), line.ingest()
    turn(planner)
    line.work()
    turn(planner)
    line.files.delete(line.items(MIDDLE)[0].path)
    turn(planner, reconcile=True)
    assert line.work() == ["computed"]
    turn(planner)
    turn(ingest)
    assert line.count(table.NONDETERMINISTIC) == 1
    assert line.count(table.RECONCILES, found="differences") == 1
    assert len(caplog.records) == 1


def test_other_keys_have_other_contents(line):
    planner = line.planner()
    for seed in (1, 2, 1):
        line.land(raw=volume(seed))
        turn(planner)
        line.work()
        turn(planner)
    assert line.outcomes()["computed"] == 9
    assert line.count(table.NONDETERMINISTIC) == line.count(table.DUPLICATE_RESULTS) == 0


def test_a_reconcile_says_whether_it_found_something_and_how_long_it_took(line):
    planner = line.planner()
    turn(planner)
    line.work()
    turn(planner)
    line.files.delete(line.items(MIDDLE)[0].path)
    steps = planner.reconcile()
    next(steps)
    line.clock.seconds += 6
    drive(steps)
    assert line.count(table.RECONCILES, found="differences") == 1
    assert line.count(table.SUSPECTS) == 1
    seconds = table.RECONCILE_SECONDS
    assert line.value(seconds, "_sum", service="blur") == 6


def test_a_damaged_raw_chunk_is_one_difference_and_no_more(line):
    ingest = line.ingest()
    turn(ingest, reconcile=True)
    line.files.delete(raw_item(MIDDLE).path)
    for _ in range(3):
        turn(ingest, reconcile=True)
    assert line.count(table.RECONCILES, found="nothing") == 3
    assert line.count(table.RECONCILES, found="differences") == 1


def test_planners_of_two_datasets_add_up_and_take_back_what_was_theirs(line):
    first, second = line.planner(), line.planner()
    first.update_gauges()
    second.update_gauges()
    assert line.count(table.LEDGER_LAG) == 2 * len(CHUNKS)
    second.metrics.object_changed(ObjectChanged("mito", "opened", 1, 1))
    second.metrics.close()
    assert line.count(table.LEDGER_LAG) == len(CHUNKS)
    assert line.count(table.OPEN_OBJECTS, organelle="mito") == 0


# -- objects ---------------------------------------------------------------------------------------


@pytest.fixture
def watch(line):
    made = PlannerMetrics(line.numbers, [])
    made.live = True
    return made


def tell(watch, *kinds, id_=7, organelle="mito"):
    for kind in kinds:
        into = 1 if kind == "merged_into" else None
        watch.object_changed(ObjectChanged(organelle, kind, id_, 5, into))


def finality(line):
    return [line.value(table.FINALITY, s, organelle="mito") for s in ("_count", "_sum")]


@pytest.mark.parametrize("end", ["closed", "final"])
def test_finality_is_from_open_to_closed(line, watch, end):
    tell(watch, "opened", "grown")
    line.clock.seconds += 8
    tell(watch, "grown")
    assert line.count(table.OPEN_OBJECTS, organelle="mito") == 1
    line.clock.seconds += 2
    tell(watch, end, "final")
    assert line.count(table.OPEN_OBJECTS, organelle="mito") == 0
    assert finality(line) == [1, 10]


@pytest.mark.parametrize("end", ["merged_into", "withdrawn"])
def test_an_object_that_is_gone_is_not_final(line, watch, end):
    tell(watch, "opened", end)
    assert line.count(table.OPEN_OBJECTS, organelle="mito") == 0
    assert finality(line) == [None, None]


def test_an_object_that_was_never_open_counts_nowhere(line, watch):
    tell(watch, "closed", "final", "withdrawn")
    assert line.count(table.OPEN_OBJECTS, organelle="mito") is None
    assert finality(line) == [None, None]


def test_an_object_that_opens_again_is_timed_again(line, watch):
    tell(watch, "opened", "closed", "opened")
    line.clock.seconds += 4
    tell(watch, "closed")
    assert finality(line) == [2, 4]


def test_an_object_that_was_open_before_is_counted_and_not_timed(line, watch):
    watch.live = False
    tell(watch, "opened")
    watch.live = True
    tell(watch, "opened", id_=8)
    assert line.count(table.OPEN_OBJECTS, organelle="mito") == 2
    tell(watch, "grown", "closed")
    assert line.count(table.OPEN_OBJECTS, organelle="mito") == 1
    assert finality(line) == [None, None]


def test_organelles_are_counted_apart(line, watch):
    tell(watch, "opened")
    tell(watch, "opened", organelle="er")
    tell(watch, "opened", id_=8)
    assert line.count(table.OPEN_OBJECTS, organelle="mito") == 2
    assert line.count(table.OPEN_OBJECTS, organelle="er") == 1


def test_news_of_a_fold_reach_the_numbers(line):
    class News(NoFold):
        def changes(self):
            return [ObjectChanged("mito", "opened", n, 1) for n in (1, 2)]

    turn(line.planner(News()))
    assert line.count(table.OPEN_OBJECTS, organelle="mito") == 2


# -- the door --------------------------------------------------------------------------------------


def get(address, path="/metrics"):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
        return answer.read().decode()


def test_prometheus_reads_what_is_served(numbers):
    numbers.add(table.TASKS, stage="labels", outcome="computed")
    numbers.observe(table.TASK_SECONDS, 0.3, stage="labels", step="compute")
    with numbers.serve("127.0.0.1:0") as exporter:
        families = {f.name: f for f in text_string_to_metric_families(get(exporter.address))}
    served = {metric.name.removesuffix("_total"): metric for metric in METRICS}
    assert served.keys() <= families.keys()
    for name, metric in served.items():
        assert (families[name].type, families[name].documentation) == (metric.kind, metric.help)
    found = {(s.name, *sorted(s.labels.items())): s.value for f in families.values()
             for s in f.samples}  # fmt: skip
    labels = ("service", "blur"), ("stage", "labels")
    assert found["fibstream_tasks_total", ("outcome", "computed"), *labels] == 1
    bucket = "fibstream_task_seconds_bucket"
    step = ("step", "compute")
    assert found[bucket, ("le", "0.25"), *labels, step] == 0
    assert found[bucket, ("le", "0.5"), *labels, step] == 1


def test_nothing_else_is_served(numbers):
    with (
        numbers.serve("127.0.0.1:0") as exporter,
        pytest.raises(urllib.error.HTTPError, match="404") as refused,
    ):
        get(exporter.address, "/")
    refused.value.close()


def test_a_closed_door_is_closed_soon_and_its_port_free(numbers):
    exporter = numbers.serve("127.0.0.1:0")
    get(exporter.address)
    begun = time.monotonic()
    exporter.close()
    assert time.monotonic() - begun < 1
    with numbers.serve(exporter.address) as again:
        assert again.address == exporter.address
        assert "fibstream_build_info" in get(again.address)


def test_a_port_in_use_is_one_clear_line(numbers):
    with numbers.serve("127.0.0.1:0") as exporter:
        with pytest.raises(WrongUse) as wrong:
            numbers.serve(exporter.address)
        assert str(wrong.value) == f"metrics address {exporter.address}: Address already in use"


@pytest.mark.parametrize(
    "address", ["", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536",
                "::1:9464", "http://127.0.0.1:9464", "a b:1", "127.0.0.1:-1"]
)  # fmt: skip
def test_an_address_of_another_form_is_refused(numbers, address):
    with pytest.raises(WrongUse, match="expected HOST:PORT, such as"):
        numbers.serve(address)


def test_a_host_that_is_not_ours_is_refused(numbers):
    with pytest.raises(WrongUse, match=r"^metrics address 192\.0\.2\.1:9464: "):
        numbers.serve("192.0.2.1:9464")


def test_ipv6_is_served():
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    with Prometheus("blur").serve("[::1]:0") as exporter:
        assert exporter.address.startswith("[::1]:")
        assert "fibstream_build_info" in get(exporter.address)


def test_clients_that_say_nothing_neither_stop_nor_swamp_the_door(numbers):
    before = threading.active_count()
    with numbers.serve("127.0.0.1:0") as exporter:
        host, _, port = exporter.address.rpartition(":")
        held = [socket.create_connection((host, int(port)), 5) for _ in range(REQUESTS)]
        with pytest.raises((http.client.HTTPException, urllib.error.URLError, OSError)):
            get(exporter.address)  # hung up on
        assert threading.active_count() - before <= REQUESTS + 1
        for connection in held:
            connection.close()
        deadline = time.monotonic() + 5
        while True:
            try:
                assert "fibstream_build_info" in get(exporter.address)
                break
            except (http.client.HTTPException, OSError):
                assert time.monotonic() < deadline
