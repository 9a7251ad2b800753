"""``contact-sites/<name>``: both sides of the contacts of a chunk, as sums of integers."""

from collections.abc import Mapping

from fibstream.core.dataset import Dataset
from fibstream.core.stage import Block, Input, Made, Output, Stage
from fibstream.kernels.near import footprint
from fibstream.kernels.near import halo as halo_of

from .contact_words import Contact


def site_stage(dataset: Dataset, contact: Contact) -> Stage:
    """Return the stage that measures the boundary voxels of contacts, chunk by chunk."""
    voxel, name = dataset.voxel_size_nm, f"contact-sites/{contact.name}"
    halo = halo_of(contact.distance_nm, voxel)
    inputs = [Input(path, path, "uint64", halo) for path in contact.labels]

    def compute(block: Block) -> Mapping[str, Made]:
        from fibstream.kernels.sites import measure_sites

        one, two = contact.sides(block)
        near = footprint(contact.distance_nm, voxel)
        sites = block.patches[contact.path].array
        return {f"summaries/{name}": measure_sites(sites, one, two, block.core, near)}

    parameters = {
        "distance_nm": contact.distance_nm, "loses": contact.loses, "voxel_size_nm": list(voxel),
    }  # fmt: skip
    return Stage(
        name, 1, (Input(contact.path, contact.path, "uint64"), *inputs),
        (Output(f"summaries/{name}"),), parameters, compute,
    )  # fmt: skip
