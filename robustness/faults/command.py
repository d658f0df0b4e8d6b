"""A pipeline with a Prefect server, as a command: `python -m robustness.faults.command JOB`."""

import json
import sys
from typing import Any


def main(job: dict[str, Any]) -> None:
    """Run it and tell where the result lies."""
    from polymine.commands.running import ready_flow, run_flow
    from polymine.data_contracts.settings import PipelineSettings

    settings = PipelineSettings.model_validate(job)
    with ready_flow("pipeline") as (server, flow):
        print(json.dumps({"output": run_flow(flow, settings, server)["output"]}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
