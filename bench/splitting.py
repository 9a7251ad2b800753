"""Objects that touch in noisy distances: components against watershed and agglomeration, by score.

Run: ``python -m bench.splitting [EDGE [phantom|UroCell]]``.  Mitochondria of a phantom, and labels
of UroCell where FIBSTREAM_SHARED has them, are grown by ``GROWN_NM`` until neighbours touch: that
is the truth.  The prediction are distances to the boundary of all together, with smooth noise.
`fibstream select --refine` chooses settings on each half, scored on the other one; objects of
both are counted together.  So are published settings, components, and scikit-image's watershed from
the maxima of the smoothed distances, of which the least distance between two is chosen alike.
"""

import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.feature import peak_local_max
from skimage.segmentation import expand_labels, watershed

from fibstream.cli.choosing import choose
from fibstream.kernels.scores import count_pairs, instance_scores
from fibstream.phantom import Phantom, PhantomSpec

SHARED = Path(os.environ.get("FIBSTREAM_SHARED", "../shared"))
UROCELL = SHARED / "data" / "urocell_labels" / "fib1-4-3-0_all_labels_256.npz"
VOXEL_NM, SMOOTH_NM = 16.0, 32.0
GROWN_NM = 48.0  # half of the objects or more then touch another one
NOISE_NM = (0.0, 30.0)  # standard deviations, of lumps 3 voxels wide
LEAST_NM3 = 1e6  # 244 voxels
SQUASH_NM = 50.0
LISTS = {"min_depth": (0, 4), "quantile": (25, 50, 75), "merge_below": (0.6, 0.7, 0.8, 0.9)}
PEAKS = (2, 4, 6, 8, 12, 16)  # voxels between two maxima, at least
COUNTS = ("tp", "fp", "fn", "splits", "merges")


def phantom(edge):
    cell = Phantom(PhantomSpec((edge,) * 3, (VOXEL_NM,) * 3, seed=3))
    return cell.instances("mito", cell.box()).astype(np.uint16)


def urocell(edge):
    with np.load(UROCELL) as file:
        return file["mito"][:edge, :edge, :edge]


def distances(ids, noise_nm):
    """Return bytes of the distance to all objects together, as a network would predict it."""
    inside = ids > 0
    found = distance_transform_edt(inside) - distance_transform_edt(~inside)
    found = (found - np.where(inside, 0.5, -0.5)) * VOXEL_NM
    noise = gaussian_filter(np.random.default_rng(1).standard_normal(ids.shape), 1.5)
    found += noise * (noise_nm / noise.std())
    return np.clip(np.round(128 * np.tanh(found / SQUASH_NM) + 127), 0, 255).astype(np.uint8)


def chosen(folder, half, lists):
    """Return the choice of `select --refine` on a half."""
    return choose(
        [f"mito={folder}/{half}_prediction.npy"], [f"{folder}/{half}_truth.npy"], "mito-hela-2",
        grid=[f"{key}={','.join(map(str, values))}" for key, values in lists.items()],
        overrides=[f"min_volume_nm3={LEAST_NM3}", f"smooth_nm={SMOOTH_NM}"], metric="f1",
        voxel_size_nm=(VOXEL_NM,) * 3, chunk=None,
    )  # fmt: skip


def peer(folder, half, apart):
    """Return the scores of scikit-image's watershed from maxima that lie ``apart`` voxels."""
    values, truth = (np.load(f"{folder}/{half}_{name}.npy") for name in ("prediction", "truth"))
    level = gaussian_filter(values.astype(np.float32), SMOOTH_NM / VOXEL_NM)
    mask = level >= 127
    seeds = np.zeros(values.shape, np.int32)
    # By default it leaves maxima out that are near the border, and their objects with them.
    peaks = peak_local_max(
        np.where(mask, level, 0), min_distance=apart, threshold_abs=127, exclude_border=False
    )
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    found = watershed(-level, seeds, mask=mask)
    small = np.bincount(found.ravel()) * VOXEL_NM**3 < LEAST_NM3
    return instance_scores(count_pairs(truth, np.where(small[found], 0, found)))


def timed(seconds, count, function, *args):
    begin = time.perf_counter()
    found = function(*args)
    seconds.append((time.perf_counter() - begin) / count)
    return found


def crossed(folder):
    """Choose on each half; return the counts of each way on the other one, and the seconds."""
    totals, here, there = {}, [], []
    tries = int(np.prod([len(values) for values in LISTS.values()]))
    for one, other in (("first", "second"), ("second", "first")):
        choice = timed(here, tries, chosen, folder, one, LISTS)
        settings = choice.tried[choice.chosen].settings
        found = chosen(folder, other, {key: (settings[key],) for key in LISTS})
        peers = [timed(there, 1, peer, folder, one, apart)["f1"] for apart in PEAKS]
        apart = PEAKS[int(np.argmax(peers))]
        rows = {
            "components (generic)": found.plain.scores,
            "published, hela-2: 25, 0.9": found.own.scores,
        }
        for name, (quantile, below) in {"macrophage": (50, 0.7), "jurkat": (50, 0.6)}.items():
            given = {"quantile": (quantile,), "merge_below": (below,)}
            tried = chosen(folder, other, given).tried[0]
            rows[f"published, {name}: {quantile}, {below}"] = tried.scores
        rows["chosen on the other half"] = found.tried[0].scores
        rows["scikit-image, chosen on the other half"] = peer(folder, other, apart)
        for name, scores in rows.items():
            totals.setdefault(name, Counter()).update({key: scores[key] for key in COUNTS})
        print(f"  chosen on the {one} half: {settings}; {apart} voxels between maxima")
    return totals, statistics.median(here), statistics.median(there)


def compare(name, ids, noise_nm, folder):
    values, middle = distances(ids, noise_nm), ids.shape[2] // 2
    for half, part in {"first": np.s_[:, :, :middle], "second": np.s_[:, :, middle:]}.items():
        np.save(f"{folder}/{half}_prediction.npy", np.ascontiguousarray(values[part]))
        np.save(f"{folder}/{half}_truth.npy", np.ascontiguousarray(ids[part]))
    print(f"{name} of {' x '.join(map(str, ids.shape))} voxels, noise {noise_nm:g} nm")
    totals, here, there = crossed(folder)
    for way, n in totals.items():
        f1 = 2 * n["tp"] / (2 * n["tp"] + n["fp"] + n["fn"])
        print(f"  {way:40s} F1 {f1:.3f}, splits {n['splits']}, merges {n['merges']}, objects "
              f"{n['tp'] + n['fp']} for {n['tp'] + n['fn']}")  # fmt: skip
    print(f"  one combination of a half {here:.2f} s = {here / there:.2f} of one watershed of "
          f"scikit-image ({there:.2f} s)", flush=True)  # fmt: skip


def main(edge, only):
    volumes = {"phantom": phantom} | ({"UroCell": urocell} if UROCELL.exists() else {})
    with tempfile.TemporaryDirectory() as folder:
        for name in [only] if only else volumes:
            ids = expand_labels(volumes[name](edge), GROWN_NM / VOXEL_NM)
            for noise_nm in NOISE_NM:
                compare(name, ids, noise_nm, folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 128, sys.argv[2] if len(sys.argv) > 2 else None)
