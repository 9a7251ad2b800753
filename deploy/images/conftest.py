"""These tests lie outside the folder of the others, and use what supports them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
