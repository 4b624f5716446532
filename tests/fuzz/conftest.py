"""The modules that the fuzz tests share with the recorded run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
