"""What kernels and their callers agree on; importing it brings no compiler."""

from typing import Literal

Connectivity = Literal[6, 18, 26]  # neighbours by faces; also by edges; also by corners
LEVEL_BITS = 7  # smoothed images are in fixed point: a grey level is 2**7 units
