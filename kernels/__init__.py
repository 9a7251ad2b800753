"""Array algorithms that services share: pure functions with laws.

==================  ==============================================================================
``smooth``          a Gaussian in exact integers, the same for any cut into blocks
``components``      connected components of a block, foreground and background at once
``roots``           the root of a node, for compiled union-finds
``union_find``      sets of connected fragments of all chunks, and when they are closed
``objects``         objects of the summaries of all chunks, and the mapping of each chunk
``hosted``          the same as a fold that a planner hosts
``planes``          the block of a chunk, and the planes it shares with its neighbours
``near``            exact footprints: what is within a distance of a voxel
``surface``         which voxels are on the surface of their object
``contacts``        where two organelles are near each other
``refined``         where they face each other
``sites``           the areas of both sides of contacts, and the gaps between
``tally``           how much contact there is in all, by what is around objects
``placing``         objects put elsewhere at random, as they are
``distance``        labels as a prediction: bytes of exact distances
``mapping``         the labels of one chunk's fragments, as bytes, without the compiler
``relabel``         fragments to labels, by the mapping of one chunk
``runs``            sparse ids made dense, by runs of equal ids
``pieces``          the connected pieces of a mask that is read block by block
``scores``          agreement of two segmentations, by voxels and by objects
``edt``             exact squared distances to a mask, in slabs of any size
``metrics``         the 21 metrics of a mask against the truth
``matching``        objects matched one to one, and their scores
``watershed``       basins by steepest descent, their saddles, and basins agglomerated
``schema``          the classes that annotators draw and networks learn, and which crop has which
``conventions``     connectivities and fixed-point levels, without the compiler
``compiled``        machine code from a function over arrays
==================  ==============================================================================
"""
