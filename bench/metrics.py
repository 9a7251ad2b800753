"""The 21 metrics of a mask beside the same distances by scipy.

Run: ``python bench/metrics.py [--edge N] [--repeats N]``.
"""

import argparse
import statistics
import time

import numpy as np
from scipy import ndimage

from fibstream.app.evaluation.masks import compare
from fibstream.kernels.metrics import metrics

VOXEL = (4.0, 4.0, 4.0)


def blobs(seed, edge):
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(edge,) * 3), 4)
    return rough > np.quantile(rough, 0.9)


def ours(truth, test):
    found = compare(lambda b: truth[b.slices()], lambda b: test[b.slices()], truth.shape, VOXEL)
    return metrics(found)["mean_false_distance"]


def scipys(truth, test):
    to_truth, to_test = (
        ndimage.distance_transform_edt(~mask, sampling=VOXEL) for mask in (truth, test)
    )
    return (to_truth[test].mean() + to_test[truth].mean()) / 2


def timed(function, *masks):
    begin = time.perf_counter()
    value = function(*masks)
    return value, time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    truth, test = blobs(1, given.edge), blobs(2, given.edge)
    timed(ours, truth[:8], test[:8])  # compiled
    both = [(timed(ours, truth, test), timed(scipys, truth, test)) for _ in range(given.repeats)]
    assert all(np.isclose(a[0], b[0]) for a, b in both)
    one, two = (statistics.median(pair[n][1] for pair in both) for n in (0, 1))
    print(f"{given.edge}^3: 21 metrics {one:.2f} s, {21 / one:.0f} metrics a second; "
          f"one distance by scipy {two:.2f} s: {two / one:.1f} times as long")  # fmt: skip


if __name__ == "__main__":
    main()
