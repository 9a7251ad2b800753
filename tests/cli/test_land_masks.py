"""`create` and `land` of a mask of what was imaged, against a server that computes nothing."""

import numpy as np
import pytest

from fibstream.client import Client
from fibstream.core.errors import WrongUse
from fibstream.core.subject import CHUNKS, count
from fibstream.runtime.root import Root
from fibstream.store.record import read_dataset

from ..support.command import inside
from ..support.scene import SHAPE, VOXEL_NM, blobs, save
from .test_land_predictions import CHUNK, folder, root, server, stored  # noqa: F401

MASK = (np.random.default_rng(4).random(SHAPE) < 0.7).astype(np.uint8)


def create(server: str, folder, name: str, *more: object):  # noqa: F811
    answer = inside("create", name, "--shape", ",".join(map(str, SHAPE)), "--voxel-size-nm",
                    VOXEL_NM, "--chunk", CHUNK, "--pipeline", folder / "p.yaml",
                    "--server", server, *more)  # fmt: skip
    assert answer.code == 0, answer.err


def test_a_mask_lands_beside_raw_where_it_was_declared(root: Root, server: str, folder) -> None:  # noqa: F811
    create(server, folder, "masked", "--absent-mask")
    assert read_dataset(root.files("masked")).absent_mask
    np.savez(folder / "mask.npz", labels=MASK * 255, voxel_size_nm_zyx=[VOXEL_NM] * 3)
    flags = ("--raw", folder / "raw.npz", "--server", server)
    answer = inside("land", "masked", *flags)
    assert (answer.code, "the absent mask is not given" in answer.err) == (0, True)
    answer = inside("land", "masked", *flags, "--absent-mask", folder / "mask.npz")
    assert answer.code == 0, answer.err
    assert "not given: what reads it waits" in answer.err  # the predictions alone
    assert "mask is not given" not in answer.err
    with root.open("masked") as (dataset, site):
        for index in dataset.grid.indices():
            box = dataset.grid.box(index)
            patch = site.store.read(mask_input(), box, {index: hash_of(site, index)})
            assert np.array_equal(patch.array, MASK[box.slices()])


def mask_input():
    from fibstream.core.stage import MASK as STAGE
    from fibstream.core.stage import Input

    return Input(STAGE, STAGE, "uint8")


def hash_of(site, index) -> str:
    from fibstream.store.store import Blob

    stamp = site.store.intact(Blob("mask", index, "uint8"))
    assert stamp is not None
    assert stamp.stage == "mask"
    return stamp.hash


def test_a_mask_that_nobody_declared_or_of_other_values_is_refused(server: str, folder) -> None:  # noqa: F811
    save(folder / "m.npz", blobs())
    create(server, folder, "plain")
    answer = inside("land", "plain", "--raw", folder / "raw.npz", "--server", server,
                    "--absent-mask", folder / "m.npz")  # fmt: skip
    assert answer.code == 2
    assert "was created without --absent-mask" in answer.err
    create(server, folder, "other", "--absent-mask")
    chunk = tuple(map(int, CHUNK.split(",")))
    with Client(server) as client:
        with pytest.raises(WrongUse, match="holds 2; expected 0 and 1"):
            client.land("other", (0, 0, 0), np.full(chunk, 2, np.uint8), mask=True)
        with pytest.raises(WrongUse, match="created without an absent mask"):
            client.land("plain", (0, 0, 0), np.ones(chunk, np.uint8), mask=True)
        assert client.info("other").absent_mask
        assert not client.info("plain").absent_mask
        assert not client.info("other").landed


def test_status_counts_what_has_landed_of_each_array(root: Root, server: str, folder) -> None:  # noqa: F811
    create(server, folder, "waiting", "--absent-mask")
    answer = inside("land", "waiting", "--raw", folder / "raw.npz", "--server", server)
    assert answer.code == 0, answer.err
    answer = inside("status", "waiting", "--server", server)
    lines = {tuple(line.split()) for line in answer.out.splitlines()}
    every = count(CHUNKS, root.dataset("waiting").grid)
    for stage, landed in {"raw": every, "mask": 0, "stored/p": 0, "stored/truth": 0}.items():
        assert (stage, *f"{landed} of {every} landed".split()) in lines, answer.out
    report = inside("status", "waiting", "--server", server, "--json").report["landed"]
    assert report["mask"] == {"landed": 0, "wanted": every}
