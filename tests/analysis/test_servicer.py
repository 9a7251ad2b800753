"""Wrong names and damaged tables are refused by name."""

import grpc
import pytest

from fibstream.v1 import analysis_pb2 as pb

from ..support.files import content
from ..support.patience import PATIENCE_S
from ..support.rpc import CODE
from .cell import Cell, Stub, refused, rows

BAD_NAMES = [
    ("nobody", "mito", CODE.NOT_FOUND, "dataset 'nobody'"),
    ("../cell", "mito", CODE.INVALID_ARGUMENT, "'../cell'"),
    ("", "mito", CODE.INVALID_ARGUMENT, "dataset ''"),
    ("cell", "golgi", CODE.NOT_FOUND, "organelle 'golgi': cell has generic, mito"),
    ("cell", "../../x", CODE.NOT_FOUND, "organelle '../../x'"),
    ("cell", "", CODE.NOT_FOUND, "organelle ''"),
]


@pytest.mark.parametrize(("dataset", "organelle", "code", "says"), BAD_NAMES)
def test_a_wrong_name_is_named(
    cell: Cell, stub: Stub, dataset: str, organelle: str, code: grpc.StatusCode, says: str
) -> None:
    request = pb.QueryObjectsRequest(dataset=dataset, organelle=organelle)
    with pytest.raises(grpc.RpcError) as caught:
        stub.QueryObjects(request, timeout=PATIENCE_S)
    assert caught.value.code() == code and says in caught.value.details()
    if dataset != "cell":
        with pytest.raises(grpc.RpcError) as caught:
            stub.Describe(pb.DescribeRequest(dataset=dataset), timeout=PATIENCE_S)
        assert caught.value.code() == code


def test_a_damaged_table_is_not_read(cell: Cell, stub: Stub) -> None:
    cell.write(rows(101))  # which nobody has read before: what is read once is kept
    data = bytearray(content(cell.files, "tables/mito.parquet"))
    data[100] ^= 1
    cell.files.put("tables/mito.parquet", bytes(data))
    code, says = refused(stub, organelle="mito")
    assert code == CODE.FAILED_PRECONDITION and "damaged" in says
