"""Every field of every call, drawn from the protos: refused in one line, and services live on."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibstream import registry
from fibstream.core.dataset import Dataset, Prediction
from fibstream.runtime.root import Root
from fibstream.runtime.service import ServicerContext
from fibstream.runtime.settings import Settings
from fibstream.services.ingest.edges.datasets import DatasetDesign, create
from fibstream.v1 import analysis_pb2, inference_pb2, ingest_pb2, refine_pb2

from ..support.fuzzing import Context, faults, fields, methods

FILES = {
    "ingest": ingest_pb2, "inference": inference_pb2, "refine": refine_pb2,
    "analysis": analysis_pb2,
}  # fmt: skip
CALLS = {"ingest": 1200, "inference": 200, "refine": 400, "analysis": 200}  # 2000 in all
DATASET = Dataset(
    name="cell", shape=(None, 8, 8), chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255), predictions=(Prediction(name="er", squash_nm=30),),
)  # fmt: skip
MAX_DETAIL = 300  # characters that a person reads


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with closing(Root(str(tmp_path))) as made:
        for name in ("cell", "other"):
            renamed = DATASET.model_copy(update={"name": name})
            create(made, DatasetDesign(renamed, {}, []))
        yield made


def servicer_of(service: str, root: Root, tmp_path: Path) -> Any:
    context = ServicerContext(root, Settings.model_validate({}), [str(tmp_path)])
    return registry.service(service).servicer(context).servicer


def lands(root: Root, tmp_path: Path) -> bool:
    """Whether a chunk of the other dataset still lands."""
    voxels = np.ones((8, 8, 8), np.uint8)
    header = ingest_pb2.ChunkHeader(dataset="other", size=voxels.nbytes)
    parts = [
        ingest_pb2.PutChunkRequest(header=header),
        ingest_pb2.PutChunkRequest(piece=voxels.tobytes()),
    ]
    landed = servicer_of("ingest", root, tmp_path).PutChunk(iter(parts), Context())
    return bool(landed.revision)


@pytest.mark.parametrize("service", CALLS)
def test_no_call_ends_in_an_internal_error_or_a_long_line(
    root: Root, tmp_path: Path, service: str
) -> None:
    servicer = servicer_of(service, root, tmp_path)
    codes: Counter[str] = Counter()
    for code, detail in faults(servicer, methods(FILES[service]), 1, CALLS[service]):
        codes[code] += 1
        assert code not in ("INTERNAL", "UNKNOWN"), detail
        assert len(detail) <= MAX_DETAIL and detail.isprintable(), detail
    assert codes["OK"] and codes["INVALID_ARGUMENT"] and codes["NOT_FOUND"]
    assert lands(root, tmp_path)
    getattr(servicer, "close", lambda: None)()


def test_what_is_drawn_knows_every_field() -> None:
    """A request with a list needs values for it, which nobody drew."""
    for method in methods(*FILES.values()):
        assert not [f.full_name for f in fields(method.input_type) if f.is_repeated]
