"""Landmarks and matrices that other programs exchange come back as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fibstream.core.errors import WrongUse
from fibstream.services.registration.exchange import bigwarp_rows, bigwarp_text, light_to_specimen
from fibstream.services.registration.transform import Transform

PLACES = arrays(np.float64, st.tuples(st.integers(0, 9), st.just(6)), elements=st.floats(-1e9, 1e9))


@given(PLACES)
def test_landmarks_come_back_to_the_bit(both: np.ndarray) -> None:
    found = bigwarp_rows(bigwarp_text(both[:, :3], both[:, 3:]))
    assert np.array_equal(found.moving, both[:, :3])
    assert np.array_equal(found.target, both[:, 3:])
    assert found.names == tuple(f"Pt-{n}" for n in range(len(both)))


def test_bigwarp_writes_x_first_and_what_is_not_active_is_left_out() -> None:
    text = '"a","true","1","2","3","4","5","6"\n'
    text += '"b","false",1,2,3,4,5,6\n\n"c","true",Infinity,2,3,4,5,6\n'
    found = bigwarp_rows(text)
    assert found.names == ("a",)
    assert found.moving.tolist() == [[3.0, 2.0, 1.0]]
    assert found.target.tolist() == [[6.0, 5.0, 4.0]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('"a","true",1,2,3', "row 1: 5 columns"),
        ('"a","true",1,2,3,4,5,6\n"b","maybe",1,2,3,4,5,6', "row 2: 'maybe'"),
        ('"a","true",1,2,3,4,5,six', "row 1: .*expected"),
        ('"a","true",1,2,3,4,5,nan', "row 1: NaN"),
    ],
)
def test_other_rows_are_refused_with_their_number(text: str, why: str) -> None:
    with pytest.raises(WrongUse, match=why) as caught:
        bigwarp_rows(text)
    assert "\n" not in str(caught.value)


def test_neuroglancer_gets_the_inverse_of_the_affine_map() -> None:
    rng = np.random.default_rng(1)
    transform = Transform(np.eye(3) * -1.2 + rng.normal(0, 0.1, (3, 3)), rng.normal(0, 1e4, 3))
    points = rng.uniform(0, 1e4, (20, 3))
    matrix = light_to_specimen(transform)
    back = np.c_[transform.to_light(points), np.ones(20)] @ matrix.T
    assert np.abs(back - points).max() < 1e-6
