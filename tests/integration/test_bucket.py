"""Services that share nothing but a bucket and Kafka."""

import io

import pyarrow.parquet as pq

from fibstream.cli.landing import land_volume
from fibstream.services.analysis.table import rows_hash
from fibstream.store.published import labels_hash, tables_hash
from fibstream.store.remote import open_files
from fibstream.volumes.sources import open_volume

from ..support.cluster import Cluster
from ..support.command import inside
from ..support.files import content
from ..support.s3 import BUCKET, environment, moto
from ..support.scene import SHAPE, blobs, save

URL = f"s3://{BUCKET}/shared"
MITO_NM = 10.0  # of the network that comes with fibstream


def test_services_on_a_bucket_give_the_hashes_of_a_local_run(broker, tmp_path, monkeypatch) -> None:
    raw = save(tmp_path / "raw.npz", blobs(), MITO_NM)
    local = inside("run", "--raw", raw, "--pipeline", "mito", "--out", tmp_path / "a.zarr",
                   "--bus", "memory:", "--json")  # fmt: skip
    assert local.code == 0, local.err
    with moto() as server:
        server.bucket(BUCKET)
        for name, value in environment(server.endpoint).items():
            monkeypatch.setenv(name, value)
        cluster = Cluster(tmp_path, f"kafka://{broker.servers}", "--root", URL)
        try:
            cluster.start()
            with cluster.client() as client:
                client.create("cell", SHAPE, voxel_size_nm=(MITO_NM,) * 3, chunk=(36, 24, 26))
                land_volume(client, "cell", str(raw), order="raster", seed=0, limit=None, seal=True)
                assert client.wait("cell").failed_count == 0
                assert client.datasets() == ["cell"]
            labels = open_volume(f"{URL}/cell.zarr/labels/mito/s0", kind="labels")
            table = content(open_files(f"{URL}/cell.zarr"), "tables/mito.parquet")
            rows = pq.read_table(io.BytesIO(table))
            found = (
                labels_hash({"mito": (labels.shape, labels.read)}),
                tables_hash({"mito": rows_hash(rows)}),
            )
        finally:
            cluster.close()
    assert found == local.hashes
