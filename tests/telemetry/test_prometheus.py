"""The Prometheus adapter: labels stay bounded, counters start at 0, threads lose nothing."""

import threading

import pytest

from fibstream.core.dataset import Dataset, Model
from fibstream.services.inference.service import describe
from fibstream.telemetry import metrics as declared
from fibstream.telemetry.metrics import MAX_LABEL_VALUES, OTHER, SILENT, Telemetry
from fibstream.telemetry.prometheus import Prometheus

from ..runtime.line import SHAPE, Line
from .counted import Samples, samples


def test_a_value_that_a_label_does_not_have_is_folded(prometheus: Prometheus) -> None:
    prometheus.called("Predict", "OK", 0.1)
    prometheus.called("Predict", "42", 0.1)
    prometheus.add(declared.DEAD_LETTERS, reason="other cause")
    found = samples(prometheus.registry)
    service = ("service", "blur")
    requests = declared.GRPC_REQUESTS.name
    assert found[requests, ("code", "OK"), ("method", "Predict"), service] == 1
    assert found[requests, ("code", OTHER), ("method", "Predict"), service] == 1
    assert found[declared.DEAD_LETTERS.name, ("reason", OTHER), service] == 1


def test_an_open_label_is_cut_at_its_limit_and_forgets_the_rest(prometheus: Prometheus) -> None:
    before = len(samples(prometheus.registry))
    for number in range(10 * MAX_LABEL_VALUES):
        prometheus.add(declared.OPEN_OBJECTS, organelle=f"recipe{number}")
    kept = len(prometheus._series)
    found = samples(prometheus.registry)
    assert len(found) - before == MAX_LABEL_VALUES + 1
    assert found[declared.OPEN_OBJECTS.name, ("organelle", OTHER)] == 9 * MAX_LABEL_VALUES
    prometheus.add(declared.OPEN_OBJECTS, organelle="recipe0")
    prometheus.add(declared.OPEN_OBJECTS, organelle="one more")
    assert len(prometheus._series) == kept


@pytest.mark.parametrize("labels", [{}, {"stage": "raw"}, {"stage": "raw", "chunk": "1"}])
def test_labels_that_a_metric_does_not_have_are_a_bug(
    prometheus: Prometheus, labels: dict[str, str]
) -> None:
    with pytest.raises(AssertionError):
        prometheus.add(declared.TASKS, **labels)


def test_counters_start_at_zero_so_that_an_alert_sees_the_first_event(
    prometheus: Prometheus,
) -> None:
    found = samples(prometheus.registry)
    for metric, labels in (
        (declared.NONDETERMINISTIC, {}),
        (declared.CONSUMER_STALLS, {}),
        (declared.DEAD_LETTERS, {"reason": "poison"}),
        (declared.DEAD_LETTERS, {"reason": "crashed"}),
    ):
        place = metric.name, *sorted({"service": "blur", **labels}.items())
        assert found[place] == 0


def test_services_of_one_process_are_counted_apart(prometheus: Prometheus) -> None:
    other = prometheus.of("refine")
    prometheus.add(declared.CONSUMER_STALLS)
    other.add(declared.CONSUMER_STALLS, 2)
    other.add(declared.OPEN_OBJECTS, organelle="mito")
    found = samples(prometheus.registry)
    assert found[declared.CONSUMER_STALLS.name, ("service", "blur")] == 1
    assert found[declared.CONSUMER_STALLS.name, ("service", "refine")] == 2
    assert found == samples(other.registry) | process(found)


def process(found: Samples) -> Samples:
    """Return what the process itself does, which changes by the moment."""
    return {place: value for place, value in found.items() if place[0].startswith("process_")}


def test_threads_lose_no_count(prometheus: Prometheus) -> None:
    def work() -> None:
        for number in range(2000):
            prometheus.add(declared.OPEN_OBJECTS, organelle=f"m{number % 4}")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = samples(prometheus.registry)
    assert [found[declared.OPEN_OBJECTS.name, ("organelle", f"m{i}")] for i in range(4)] == [
        2000
    ] * 4


def test_version_and_process_are_shown(prometheus: Prometheus) -> None:
    found = samples(prometheus.registry)
    assert found[declared.BUILD_INFO.name, ("version", "1.0")] == 1
    assert found["process_resident_memory_bytes",] > 1e6
    assert not any(name.endswith("_created") for name, *_ in found)


def test_the_networks_of_a_dataset_are_shown(prometheus: Prometheus) -> None:
    model = Model(
        name="mito", classes=("mito",), sha256="ab" * 32, spec={},
        profile={"runtime": "onnxruntime 1.30", "provider": "P", "precision": "fp32"},
    )  # fmt: skip
    dataset = Dataset(
        name="d", shape=SHAPE, chunk=(4, 4, 4), dtype="uint8", voxel_size_nm=(8, 8, 8),
        contrast=(0, 255), models=(model,),
    )  # fmt: skip
    describe(dataset, prometheus)
    labels = {
        "model": "mito", "sha256": "ab" * 32,
        "runtime": "onnxruntime 1.30", "provider": "P", "precision": "fp32",
    }  # fmt: skip
    assert prometheus.registry.get_sample_value("fibstream_model_info", labels) == 1


def test_the_silent_telemetry_keeps_nothing() -> None:
    assert Line().site.telemetry is SILENT
    silent = Telemetry()
    assert silent.of("refine") is silent
    assert silent.now() == 0
    silent.laps(declared.TASK_SECONDS)("read")
    silent.add(declared.TASKS)
    silent.set(declared.QUEUE, 1)
    silent.stamp(declared.LAST_COMMIT)
    silent.observe(declared.FRESHNESS, 1)
    silent.begin(declared.FRESHNESS)
    silent.called("Predict", "OK", 1)
    assert vars(silent) == {}
