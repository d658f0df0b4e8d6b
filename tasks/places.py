"""Where a result goes when its path is a template: a folder per run, the same on a retry."""

from data_contracts.settings import OutputSettings


def settle(output: OutputSettings) -> OutputSettings:
    """Put the flow run's day and id in the place of `{date}` and `{run}` in `output.path`.

    The day is the one the run was scheduled for, in UTC, not the one it started on: a run that is
    retried after midnight, or has waited for its turn, keeps its folder. Call it in a flow.
    """
    if "{" not in output.path:
        return output
    from prefect.runtime import flow_run

    day = f"{flow_run.scheduled_start_time:%Y-%m-%d}"
    path = output.path.replace("{date}", day).replace("{run}", str(flow_run.id)[:8])
    return output.model_copy(update={"path": path})
