"""The deformation as elastix fits it, after our affine map: a second method, to compare with.

itk-elastix runs in a process of its own on one thread: with two, its bending penalty ends the
process by a segmentation fault (itk-elastix 0.25).  ``pip install fibstream[elastix]``.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.services.registration.port import Image
from fibstream.services.registration.transform import Spline, Transform
from fibstream.services.registration.warp import pulled

MICROMETRE = 1000.0  # nm; elastix works in it
TIMEOUT_S = 3600.0
COMMON = {
    "FixedInternalImagePixelType": "float", "MovingInternalImagePixelType": "float",
    "UseDirectionCosines": "true", "Transform": "BSplineTransform",
    "FixedImagePyramid": "FixedRecursiveImagePyramid",
    "MovingImagePyramid": "MovingRecursiveImagePyramid",
    "Interpolator": "BSplineInterpolator", "BSplineInterpolationOrder": "1",
    "ResampleInterpolator": "FinalBSplineInterpolator", "Resampler": "DefaultResampler",
    "FinalBSplineInterpolationOrder": "1", "DefaultPixelValue": "0", "ErodeMask": "false",
    "Optimizer": "AdaptiveStochasticGradientDescent", "HowToCombineTransforms": "Compose",
    "ImageSampler": "RandomCoordinate", "NewSamplesEveryIteration": "true",
    "WriteResultImage": "false", "RandomSeed": "121212", "AutomaticParameterEstimation": "true",
}  # fmt: skip
METHODS: dict[str, dict[str, str | tuple[str, ...]]] = {
    # Heinrich et al. 2021: knots of 16 voxels of 62 nm, four levels, correlation alone.
    "elastix": {
        **COMMON, "Registration": "MultiResolutionRegistration",
        "Metric": "AdvancedNormalizedCorrelation", "NumberOfResolutions": "4",
        "MaximumNumberOfIterations": "500", "NumberOfSpatialSamples": "2048",
        "FinalGridSpacingInPhysicalUnits": "1.0",
    },
    "elastix-bending": {
        **COMMON, "Registration": "MultiMetricMultiResolutionRegistration",
        "Metric": ("AdvancedNormalizedCorrelation", "TransformBendingEnergyPenalty"),
        "Metric0Weight": "1.0", "Metric1Weight": "0.05", "NumberOfResolutions": "3",
        "MaximumNumberOfIterations": "300", "NumberOfSpatialSamples": "5000",
        "FinalGridSpacingInPhysicalUnits": "2.0", "MaximumStepLength": "0.1",
    },
}  # fmt: skip


def deformed_by_elastix(
    em: Image, light: Image, affine: Transform, method: str = "elastix-bending"
) -> Transform:
    """Return an affine map with the deformation that elastix fits after it.

    Parameters
    ----------
    em, light
        Prepared images, as :func:`~fibstream.services.registration.register.prepare` makes them.
    affine
        From the specimen into the light image.
    method
        ``elastix``, the published settings, or ``elastix-bending``, with a penalty on bending.

    Raises
    ------
    WrongUse
        Another method, itk-elastix is not installed, or it gives no transform.
    """
    if method not in METHODS:
        raise WrongUse(f"method {echo(method)}: expected {' or '.join(METHODS)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(
            folder / "pair.npz", fixed=em.grey, moving=pulled(affine, light, em),
            spacing=np.array(em.voxel_nm) / MICROMETRE,
            origin=(np.array(em.corner_nm) + np.array(em.voxel_nm) / 2) / MICROMETRE,
        )  # fmt: skip
        _run(folder, method)
        answer = folder / "found.json"
        if not answer.exists():
            raise WrongUse(f"{method}: it gave no transform")
        return Transform(affine.matrix, affine.offset, _spline(json.loads(answer.read_text())))


def _run(folder: Path, method: str) -> None:
    line = [sys.executable, "-m", __name__, str(folder), method]
    threads = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            line, env=os.environ | threads, capture_output=True, text=True, check=False,
            timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise WrongUse(f"{method}: no answer in {TIMEOUT_S:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        if "No module named 'itk'" in last:
            last = "itk-elastix is not installed; expected pip install fibstream[elastix]"
        raise WrongUse(f"{method}: {echo(last)}")


def _spline(found: dict[str, list[str]]) -> Spline:
    """Return elastix's B-spline, x first and one component after another, micrometres."""
    nx, ny, nz = (int(v) for v in found["GridSize"])
    values = np.array(found["TransformParameters"], np.float64).reshape(3, nz, ny, nx)[::-1]
    origin, spacing = (
        np.array(found[name], np.float64)[::-1] * MICROMETRE
        for name in ("GridOrigin", "GridSpacing")
    )
    return Spline(np.ascontiguousarray(np.moveaxis(values, 0, -1)) * MICROMETRE, origin, spacing)


def child(folder: Path, method: str) -> None:
    """Register the pair of a folder and write the transform's parameters there."""
    itk: Any = importlib.import_module("itk")
    with np.load(folder / "pair.npz") as pair:
        images = []
        for name in ("fixed", "moving"):
            image = itk.image_from_array(np.ascontiguousarray(pair[name], np.float32))
            image.SetSpacing(pair["spacing"][::-1].tolist())
            image.SetOrigin(pair["origin"][::-1].tolist())
            images.append(image)
    entries = {k: v if isinstance(v, tuple) else (v,) for k, v in METHODS[method].items()}
    entries |= {"FixedImageDimension": ("3",), "MovingImageDimension": ("3",)}
    parameters = itk.ParameterObject.New()
    parameters.AddParameterMap(entries)
    _, found = itk.elastix_registration_method(
        *images, parameter_object=parameters, number_of_threads=1, log_to_console=False
    )
    known = found.GetParameterMap(0)
    names = ("GridSize", "GridOrigin", "GridSpacing", "TransformParameters")
    answer = {name: list(known[name]) for name in names}
    (folder / "found.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    child(Path(sys.argv[1]), sys.argv[2])
