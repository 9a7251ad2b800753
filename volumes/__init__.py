"""Readers of the volume formats of the field, behind one function: ``sources.open_volume``.

Each returns ``formats.Voxels``; ``sources`` checks them and reads them box by box, axes (z, y, x).

- ``numpy_files.py``: ``.npy`` and ``.npz``;
- ``tiff.py``: ``.tif`` and ``.tiff``, stacks; OME-TIFF, ImageJ, BigTIFF;
- ``mrc.py``: ``.mrc`` and ``.rec``, MRC2014;
- ``nrrd.py``: ``.nrrd``, header and data in one file;
- ``slices.py``: a folder of TIFF or MRC slices, in the order of ``slice_numbers.py``;
- ``zarr_n5/``: Zarr v2 and v3 (OME-NGFF, OpenOrganelle) and N5, on disk or in a bucket.

``registry.py`` selects the reader, by the suffix or in a folder by its metadata.  A further format
needs no change here: an installed package declares an entry point of the group
``fibstream.volumes``, as ``registry.py`` describes.  ``lengths.py`` turns stated voxel sizes into
nanometres; ``positions.py`` compares where volumes lie, ``downsampled.py`` averages them;
``display.py`` reads how grey values are to be shown.
"""
