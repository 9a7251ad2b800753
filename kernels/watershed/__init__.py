"""Watershed in the total order (relief, global id), and what is merged afterwards.

A block gives *basins*: the voxels from which steepest descent ends at one minimum (Cousty et al.,
IEEE PAMI 2009). Ties are broken by global id, so a basin does not depend on the cut into blocks.

===============  ================================================================================
``basins``       steepest descent of a block
``saddles``      the graph of the basins of a block, and that of two blocks joined
``dynamics``     how deep a minimum is below its saddle; a spanning forest of saddles
``rule``         what decides which basins become one object
``agglomerate``  basins merged by a quantile of the affinity between them
``closed``       closed components of several chunks, and the holes in them
``frozen``       what of an open component nothing can change any more
``giants``       components that are split while they are open
``split``        the objects of a dataset, kept up to date as its chunks come
``summary``      what is kept of a chunk for that
``traced``       the component, the fragment and the object of every basin, for who asks afterwards
``presets``      the published parameters of each cell
===============  ================================================================================
"""
