"""Commands and their flags, one file for each group; what they do is in the files above."""

# In the order of the help.
from . import streaming, single, scoring, selecting, datasets, comparing, training  # noqa: F401, I001
from ..phantom import command  # noqa: F401
from . import services, updating, serve, config  # noqa: F401
