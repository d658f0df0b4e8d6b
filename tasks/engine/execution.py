"""Carries plans out: the whole of reuse, resumption, progress and checksums is here, once.

The dataset of a plan is named by what it depends on and looked for in the store. The blocks that
are missing are made one after the other in this process, or side by side on a Ray cluster.
"""

import time
from contextlib import nullcontext
from dataclasses import replace

from polymine.data_contracts.references import DatasetRef
from polymine.progress import Progress, Silent
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Plan
from polymine.tasks.engine.progress import TaskProgress
from polymine.tasks.engine.work import Work, make_block
from polymine.tasks.store.datasets import Dataset, shard_name
from polymine.tasks.store.rates import note_rate


def carry_out(run: Context, plan: Plan | DatasetRef, name: str = "") -> DatasetRef:
    """Find the dataset of a plan, or make it: only those blocks that no earlier run has made.

    Args:
        plan: what is to be there; a reference, if planning found it there already.
        name: of the work in progress, if the plan has none of its own.

    Raises the error of the first block that fails. Finished blocks stay for the next run.
    """
    if isinstance(plan, DatasetRef):
        return plan
    plan = plan if plan.label else replace(plan, label=name)
    dataset = run.store.dataset(plan.contract, plan.fingerprint, within=plan.within)
    if found := dataset.peek() if run.dry else dataset.find():
        return plan.result(found)
    if run.dry and run.aside is not None and plan.reads:
        return replace(carry_out(run.aside, plan, name), reused=False)
    if run.dry:
        made = plan.result(DatasetRef(dataset.path, plan.contract, 0, plan.fingerprint))
        run.graph.expect(made, plan.load())
        return made
    with run.model_lock if plan.uses_model else nullcontext():
        plan = plan.prepare(plan) if plan.prepare else plan
        make_blocks(run, plan, dataset)
    expected = list(plan.shards) if plan.resumable else []
    info = plan.note(dataset).model_dump(mode="json") if plan.note else None
    inputs = {
        name: value.fingerprint
        for name, value in plan.depends.items()
        if isinstance(value, DatasetRef)
    }
    return plan.result(dataset.commit(inputs, info, expected=expected))


def make_blocks(run: Context, plan: Plan, dataset: Dataset) -> None:
    """Make those blocks that are not there yet."""
    done = {number for name, number in plan.shards.items() if plan.resumable and dataset.has(name)}
    todo = {number: size for number, size in plan.blocks.items() if number not in done}
    if not todo:
        return
    began = time.monotonic()
    progress: Progress = TaskProgress() if plan.unit else Silent()
    progress.start(plan.label, sum(todo.values()), plan.unit)
    if plan.spread and run.engine.kind == "ray":
        from polymine.tasks.engine.cluster_blocks import make_on_cluster

        make_on_cluster(_travelling(run, plan, dataset), todo, plan.order, progress)
    else:
        maker = plan.opened() if plan.opened else plan.open(run)
        for number, size in todo.items():
            part = _Part(progress, plan.label)
            order = plan.order(number) if plan.order else None
            make_block(dataset, shard_name(number, plan.form), maker, number, order, part)
            progress.advance(plan.label, size - part.counted)
    progress.finish(plan.label)
    if plan.unit:
        took = time.monotonic() - began
        note_rate(run.store.root, plan.rate, sum(todo.values()) * plan.each, took)


def _travelling(run: Context, plan: Plan, dataset: Dataset) -> Work:
    default = f"{run.store.root}/{plan.contract}/{plan.within}/{plan.fingerprint}"
    return Work(
        label=plan.label,
        root=run.store.root,
        contract=plan.contract,
        fingerprint=dataset.fingerprint,
        within=plan.within,
        form=plan.form,
        engine=run.engine,
        open=plan.open,
        opened_as=plan.opened_as or default,
        uses_model=plan.uses_model,
    )


class _Part:
    """Progress of a block: start and end of the work are not its own to tell."""

    def __init__(self, whole: Progress, label: str) -> None:
        self._whole, self._label = whole, label
        self.counted = 0

    def start(self, stage: str, total: int, unit: str) -> None:
        """Ignore the start of a part."""

    def advance(self, stage: str, amount: int, note: str = "") -> None:
        """Count towards the whole."""
        self.counted += amount
        self._whole.advance(self._label, amount, note)

    def finish(self, stage: str) -> None:
        """Ignore the end of a part."""
