"""Watershed in the total order (relief, global id), and what is merged afterwards.

A block gives *basins*: the voxels from which steepest descent ends at one minimum (Cousty et al.,
IEEE PAMI 2009). Ties are broken by global id, so a basin does not depend on the cut into blocks.

===============  ================================================================================
``basins``       steepest descent of a block
===============  ================================================================================
"""
