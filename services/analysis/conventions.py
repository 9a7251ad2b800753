"""What the measures of analysis agree on; importing it brings no compiler."""

from fibstream.core.grid import Halo

# A face belongs to the chunk of its lower voxel, which must see the voxel above.
HALO = Halo((0, 0, 0), (1, 1, 1))
