"""The folder watcher: it lands a volume while a microscope writes it.

``watcher.py`` is the loop, ``ending.py`` decides when it ends, ``growing.py`` is what it needs of a
volume that grows: slices (``slice_folder.py``) or a Zarr array (``zarr_array.py``, whose files
``zarr_files.py`` names).  Chunks land through ``port.py``.
"""
