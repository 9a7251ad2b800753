"""The classes and their rules against the tables of the paper, and masks against a slow count."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.kernels.schema.annotation import CropRecord, label_mask
from fibstream.kernels.schema.classes import (
    COMBINED,
    FINE_IDS,
    FINE_NAMES,
    PREDICTED,
    SUPER,
    members,
    super_class,
)  # fmt: skip
from fibstream.kernels.schema.shares import COLUMNS, count, frequencies, rows
from fibstream.kernels.schema.strategies import STRATEGIES, classes_of
from fibstream.phantom.materials import FINE, Materials
from fibstream.phantom.truth import Annotated, Crop, annotation, record
from fibstream.phantom.truth import label_mask as phantom_mask

LISTS = ("present_annotated", "absent_annotated", "present_unannotated",
         "present_partial_annotation")  # fmt: skip


def test_there_are_37_fine_classes_and_35_that_networks_predict() -> None:
    assert FINE_IDS == 37 == len(set(FINE_NAMES))
    assert len(SUPER) == 36 and len(PREDICTED) == 35
    assert set(SUPER) - set(PREDICTED) == {"cytosol"}
    assert set(chain(*(of.ids for of in SUPER.values()))) == set(range(1, 38))
    assert SUPER["er"].ids == tuple(range(16, 24))  # with exit sites, envelope and pores
    assert SUPER["nucleus"].ids == (*range(20, 30), 37) and SUPER["nucleus"].generic == 37
    assert [n for n, of in SUPER.items() if of.generic] == ["nucleus"]


def test_strategies_have_the_counts_of_the_paper() -> None:
    few = [s for name, s in STRATEGIES.items() if name.startswith("few/")]
    assert len(STRATEGIES["all"].classes) == 34
    assert set(PREDICTED) - set(STRATEGIES["all"].classes) == {"ERES_membrane"}
    assert len(STRATEGIES["many"].classes) == 14
    assert len(few) == 14 and {len(s.classes) for s in few} == {1, 2, 3, 4}
    together = list(chain(*(s.classes for s in few)))
    assert len(together) == 35 and set(together) == set(PREDICTED)
    setups = [int(float(s.setup_4nm)) for s in few]
    assert setups == list(range(25, 52, 2))  # odd ones have 4 nm, even ones 8 nm
    assert [int(float(s.setup_8nm)) for s in few] == list(range(26, 53, 2))
    for strategy in STRATEGIES.values():
        assert classes_of(strategy.classes) == strategy.classes


def test_own_weights_own_volumes_and_what_is_drawn_thin() -> None:
    of = SUPER.items()
    assert {n: s.balance for n, s in of if s.balance} == {
        "mito_membrane": "mito", "mito_DNA": "mito", "vesicle_membrane": "vesicle",
        "MVB_membrane": "MVB", "lysosome_membrane": "lysosome", "LD_membrane": "LD",
        "er_membrane": "er", "ERES_membrane": "ERES", "NE_membrane": "NE",
        "nuclear_pore_out": "nuclear_pore", "microtubules_out": "microtubules",
    }  # fmt: skip
    assert {n for n, s in of if s.separate} == {"nucleolus", "centrosome", "ribosomes"}
    assert {n: s.thin_nm for n, s in of if s.thin_nm} == {"centrosome": 2, "ribosomes": 8}
    assert set(chain(COMBINED, *COMBINED.values())) <= set(PREDICTED)
    assert all(set(SUPER[n].ids) < set(SUPER[s.balance].ids) for n, s in of if s.balance)


def test_every_class_of_the_phantom_is_one_of_the_37() -> None:
    assert set(FINE.tolist()) == set(range(1, 37))  # all but the nucleus that nobody subdivided
    fine = dict(zip(Materials._fields, FINE.tolist(), strict=True))
    of = {
        "mito": "MITO_OUTER MITO_SPACE MITO_INNER MATRIX CRISTA_MEMBRANE CRISTA_SPACE NUCLEOID",
        "golgi": "GOLGI_MEMBRANE GOLGI_LUMEN", "vesicle": "VESICLE_MEMBRANE VESICLE_LUMEN",
        "MVB": "MVB_MEMBRANE MVB_LUMEN ILV_MEMBRANE ILV_LUMEN", "LD": "LD_MEMBRANE LD_LUMEN",
        "lysosome": "LYSO_MEMBRANE LYSO_LUMEN", "ERES": "ERES_MEMBRANE ERES_LUMEN",
        "NE": "NE_MEMBRANE NE_LUMEN PORE_OUT PORE_IN", "chromatin": "HCHROM NHCHROM ECHROM NECHROM",
        "nuclear_pore": "PORE_OUT PORE_IN", "nucleolus": "NUCLEOLUS", "ribosomes": "RIBOSOME",
        "microtubules": "TUBULE_OUT TUBULE_IN", "centrosome": "CENTROSOME", "cytosol": "CYTOSOL",
        "distal_app": "DISTAL", "subdistal_app": "SUBDISTAL", "ecs": "ECS", "plasma_membrane": "PM",
        "mito_membrane": "MITO_OUTER MITO_SPACE MITO_INNER", "mito_DNA": "NUCLEOID",
        "er_membrane": "ER_MEMBRANE ERES_MEMBRANE NE_MEMBRANE",
    }  # fmt: skip
    for name, materials in of.items():
        assert {m for m, i in fine.items() if i in SUPER[name].ids} == set(materials.split()), name
    assert fine["NUCLEOPLASM"] == 28 and fine["ER_MEMBRANE"] == 16 and fine["ER_LUMEN"] == 17


records = st.dictionaries(st.integers(1, FINE_IDS), st.sampled_from((*LISTS, None)), min_size=5)


def listed(states: dict[int, str | None]) -> dict[str, list[int]]:
    return {name: [i for i, s in states.items() if s == name] for name in LISTS}


@given(states=records, seed=st.integers(0, 9))
def test_a_crop_trains_a_class_when_all_of_it_is_annotated(states, seed) -> None:
    lists = listed(states)
    found = CropRecord.of(lists)
    labels = np.random.default_rng(seed).integers(0, 38, (3, 4, 5), np.uint8)
    for name, of in SUPER.items():
        known = [i in lists["present_annotated"] + lists["absent_annotated"] for i in of.ids]
        wanted = all(known)
        if name == "nucleus":
            undrawn = [s in LISTS[2:] for i, s in states.items() if 20 <= i < 30]
            generic = known[-1] and not (states[37] == LISTS[1] and any(undrawn))
            wanted = wanted or all(known[:-1]) or generic
        assert found.trains(name) == wanted, name
        assert np.array_equal(label_mask(labels, found, name), (labels > 0) & wanted)
        here = any(i in lists["present_annotated"] for i in of.ids)
        assert found.contains(name) == (here and all(known))
        assert np.array_equal(members(labels, name), np.isin(labels, of.ids))


@given(
    states=st.dictionaries(st.integers(1, FINE_IDS - 1), st.sampled_from(list(Annotated))),
    generic=st.booleans(), seed=st.integers(0, 20),
)  # fmt: skip
def test_the_phantoms_masks_are_never_larger(states, generic, seed) -> None:
    """The phantom knows what a generic id does not tell, and trains the envelope less often."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(rng.integers(1, FINE_IDS, 14), (6, 4, 4)).astype(np.uint8)
    crop = Crop(1, Box((0, 0, 0), (6, 4, 4)), states, generic)
    drawn, found = annotation(labels, crop), CropRecord.of(record(labels, crop))
    for name in SUPER:
        mine, its = label_mask(drawn, found, name), phantom_mask(labels, crop, name)
        assert (its <= mine).all(), name
        if not generic:
            assert np.array_equal(its, mine), name


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        ({"present": [1]}, "unknown list 'present'"),
        ({"present_annotated": [38]}, "38; expected fine ids from 1 to 37"),
        ({"present_annotated": [0]}, "0; expected fine ids"),
        ({"present_annotated": [True]}, "True; expected fine ids"),
        ({"present_annotated": "12"}, "expected a list"),
        ({"present_annotated": [3], "absent_annotated": [3]}, "id 3 is in present_annotated and"),
    ],
)
def test_a_wrong_record_is_one_line(lists, says) -> None:
    with pytest.raises(WrongUse, match=says) as caught:
        CropRecord.of(lists)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_one_line() -> None:
    for wrong, says in (("most", "strategy 'most'"), (("mito", "heart"), "class 'heart'"),
                        (("mito", "mito"), "occurs twice")):  # fmt: skip
        with pytest.raises(WrongUse, match=says):
            classes_of(wrong)
    with pytest.raises(WrongUse, match="class 'heart'"):
        super_class("heart")


def test_shares_are_counts_over_annotated_voxels() -> None:
    rng = np.random.default_rng(3)
    crops = [rng.integers(0, 38, (5, 6, 7), np.uint8), rng.integers(3, 8, (4, 4, 4), np.uint8)]
    known = CropRecord.of({"present_annotated": list(range(1, 30))})
    counts = [count(f"crop{n}", crop, known) for n, crop in enumerate(crops)]
    table = rows(counts, ("mito", "ribosomes"))
    assert len(table) == 2 * (37 + 2) and tuple(table[0]) == COLUMNS
    for row in table:
        crop = crops[int(str(row["crop"])[-1])]
        ids = [int(i) for i in str(row["ids"]).split()]
        inside = np.isin(crop, ids).sum()
        assert row["voxels"] == inside and row["annotated"] == (crop > 0).sum()
        assert row["of_annotated"] == inside / (crop > 0).sum()
        assert row["of_crop"] == (crop > 0).mean()
        assert row["trains"] == (max(ids) < 30)
    everything = np.concatenate([crop.ravel() for crop in crops])
    everything = everything[everything > 0]
    share = np.bincount(everything, minlength=38)[1:] / everything.size
    assert np.allclose(frequencies(counts), share, rtol=1e-12, atol=0)
    assert frequencies([]).tolist() == [0.0] * 37
    with pytest.raises(WrongUse, match="label 200; expected fine ids from 0 to 37"):
        count("crop", np.full((2, 2, 2), 200, np.uint8), known)
