"""Where the public collections lie that benchmarks and tests measure on."""

import os
from pathlib import Path

# A folder per collection. Beside the checkout unless POLYMINE_DATA names another one.
DATA = Path(
    os.environ.get("POLYMINE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
)
