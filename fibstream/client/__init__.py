"""What a Python user imports: running services, called with numpy arrays and plain values.

Example
-------
>>> with Client("127.0.0.1") as client:                                   # doctest: +SKIP
...     client.create("cell", (None, 4000, 6000), voxel_size_nm=(8, 8, 8), pipeline="mito")
...     client.land("cell", (0, 0, 0), voxels)
...     client.seal("cell")
"""

from .analysis import AnalysisCalls
from .inference import InferenceCalls
from .ingest import IngestCalls
from .refine import RefineCalls
from .registration import RegistrationCalls


class Client(IngestCalls, InferenceCalls, RefineCalls, AnalysisCalls, RegistrationCalls):
    """All calls of all services; see ``Connection`` for addresses, deadlines and errors."""
