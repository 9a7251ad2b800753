"""The contract suites of the ports ``Bus`` and ``Files``, for tests of adapters alone.

They need pytest and hypothesis, which fibstream does not; nothing else of fibstream may import
them, and they import no adapter. Whoever writes a bus of their own subclasses the suite, and runs
pytest (files: ``fibstream.testing.files.FilesTests``)::

    import pytest
    from fibstream.testing.bus import BusTests, Promises

    class TestMyBus(BusTests):
        promises = Promises(ordered=False)  # every promise is kept by default

        @pytest.fixture
        def connect(self, tmp_path):
            return lambda name, clock: MyBus(tmp_path / name, clock)
"""

import pytest

for _name in ("bus", "files", "files_machine", "harness", "log_machine", "log_model", "logs",
              "queue_machine", "queue_model", "queues"):  # fmt: skip
    pytest.register_assert_rewrite(f"fibstream.testing.{_name}")
