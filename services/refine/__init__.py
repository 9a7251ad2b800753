"""refine: predictions become labelled objects, block by block, equal to the whole volume.

The steps in order, each with its file:

1. **Smooth** a block of the prediction with a Gaussian in exact integers, so that a voxel comes out
   the same in any block (``kernels/smooth.py``).
2. **Threshold** it at a distance in nm, turned into a grey level (``rule.py``).
3. **Connect** foreground and, where holes are filled, background within the block
   (``kernels/components.py``).
4. **Name** each fragment by its smallest global voxel id, and write the chunk's summary: sizes,
   which shared planes a fragment touches, what is connected across them, which hole is beside which
   object (``cut.py``; the stage in ``stages/fragments.py``).
5. **Fold** the summaries of all chunks, in any order and with repetitions: a union-find joins
   fragments to objects, fills holes, and finds out which objects nothing can change any more
   (``union_find.py`` and ``objects.py`` of ``kernels/``; the planner hosts its ``hosted.py``).
6. **Map** the fragments of one chunk to objects; size limits hold here, for they are those of whole
   objects. The mapping travels inside the chunk's label task and is part of its key
   (``objects.py``).
7. **Relabel** the chunk by its mapping (``kernels/relabel.py``; the stage in ``stages/labels.py``).

Changes of objects (opened, grown, merged, closed, final, withdrawn) are published as hints;
``watermark.py`` counts the slices that are settled.
"""
