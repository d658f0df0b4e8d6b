"""`polymine` as a user runs it, with a watch on what its tasks take to tell of their progress.

`python -m benchmarks.speed.orchestration_side FILE ARGUMENTS` writes those seconds into FILE.
"""

import sys
import time
from pathlib import Path
from typing import Any

from polymine.tasks.engine import progress


def main() -> None:
    """Run the command line with every request for an artifact of progress timed."""
    told = Path(sys.argv.pop(1))
    write, spent = progress._write_artifact, [0.0]

    def timed(*arguments: Any) -> Any:
        began = time.monotonic()
        try:
            return write(*arguments)
        finally:
            spent[0] += time.monotonic() - began

    setattr(progress, "_write_artifact", timed)  # noqa: B010
    from polymine.commands.main import main as polymine

    try:
        polymine()
    finally:
        told.write_text(str(spent[0]))


if __name__ == "__main__":
    main()
