"""What a path names: a dataset, a group of arrays, or one array."""

from pathlib import Path

from fibstream.core.dataset import RECORD
from fibstream.core.errors import Damaged, WrongUse
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.zarr_n5.arrays import volumes_in

from .bare import ViewableArray, ViewableGroup
from .port import Viewable
from .scene import ViewableDataset


def open_viewable(path: str, voxel_size_nm: tuple[float, float, float] | None = None) -> Viewable:
    """Return what a path names; raise WrongUse when it cannot be shown.

    ``voxel_size_nm`` (z, y, x) is of an array whose metadata has none.
    """
    place, _, inside = path.partition("#")
    if "://" in place:
        raise WrongUse(f"{place}: lies in a bucket; expected a path on this machine")
    root = Path(place)
    if not inside and (root / RECORD).is_file():
        try:
            read_dataset(LocalFiles(root))
        except Damaged as error:
            raise Damaged(f"{path}: {error}") from error
        return ViewableDataset(root)
    if not root.exists():
        raise WrongUse(f"{place}: no such file or folder")
    if not inside and root.is_dir() and len(held := volumes_in(root)) > 1:
        return ViewableGroup(root, held, voxel_size_nm)
    return ViewableArray(path, voxel_size_nm)
