"""What is only collected where elastix is installed, which is 1.6 GB."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("itk") else ["test_elastix.py"]
