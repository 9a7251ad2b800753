"""Arrays in Zarr (v2, v3) and N5 hierarchies; ``arrays.py`` opens one.

``hierarchy.py`` reads groups and their metadata, ``selection.py`` selects the array of a group,
``axes.py``, ``voxel_size.py`` and ``position.py`` read its axes, voxel size and place, ``n5.py``
opens arrays of N5, and ``prediction_bytes.py`` converts stored predictions to the scale of
fibstream.
"""
