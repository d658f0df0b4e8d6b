"""Chooses the teacher whose scores decide, by the known positives that each one finds."""

import polars as pl

from polymine.data_contracts.notes import Primary
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import MiningSettings
from polymine.data_contracts.tables import TeacherRecall
from polymine.mining.recall import TOP, choose_primary, find_recall
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.store.datasets import load, manifest_of, scan

VERSION = 1
UNKNOWN = (
    "which of {} is the primary teacher is chosen by their recall@10 of the known positives, once "
    "they have ranked; this plan takes the first (mining.selection.teacher names another)"
)


@stage("choose-teacher")
def choose_teacher(
    run: Context, base: DatasetRef, positives: DatasetRef, mining: MiningSettings
) -> Plan:
    """Choose the teacher whose scores decide, by the known positives that each one finds."""
    share = "within" if mining.depth >= TOP else "first"

    def make(*_: object) -> pl.DataFrame:
        names = [teacher.name for teacher in mining.teachers]
        found = [find_recall(name, scan(base), scan(positives)) for name in names]
        each = [frame.sort("query_id")[share] for frame in pl.collect_all(found)]
        shares = pl.DataFrame([one.alias(name) for one, name in zip(each, names, strict=True)])
        kinds = [teacher.kind == "lexical" for teacher in mining.teachers]
        chosen = choose_primary(shares.to_numpy().T, kinds)
        return pl.DataFrame({"teacher": names}).with_columns(
            recall=pl.Series([one.mean() for one in each], dtype=pl.Float64),
            chosen=pl.int_range(len(names)) == chosen,
        )

    return Plan(
        contract="choices",
        depends={
            "version": VERSION,
            "evidence": base,
            "positives": positives,
            "teachers": mining.teacher_kinds,
            "share": share,
        },
        open=lambda _: Maker(make, TeacherRecall),
        reads=base.reused and positives.reused,  # a plan can choose by what is there
    )


def settle(run: Context, choice: DatasetRef | None, mining: MiningSettings) -> MiningSettings:
    """Give the settings with the primary teacher that was chosen, if any had to be.

    A plan over what is still to be ranked says that it cannot know, and goes on with the first.
    """
    if run.dry and choice is not None and manifest_of(choice) is None:
        remark = UNKNOWN.format(" and ".join(teacher.name for teacher in mining.teachers))
        run.graph.remarks += [remark] if remark not in run.graph.remarks else []
        return mining
    primary = say_primary(choice, mining).teacher
    # The first needs no name: what was decided by it before anything was chosen stays in the store.
    return mining if primary == mining.primary_teacher else mining.with_primary(primary)


def say_primary(choice: DatasetRef | None, mining: MiningSettings) -> Primary:
    """Say which teacher is primary, and what made it so.

    Args:
        choice: as `choose_teacher` made it; None where the settings leave nothing to choose.
        mining: as the settings have it.
    """
    if choice is not None:
        chosen = load(choice).filter("chosen")["teacher"].item()
        return Primary(teacher=chosen, why="kept" if chosen == mining.primary_teacher else "chosen")
    named = mining.selection.teacher is not None
    several = len(mining.teachers) > 1
    return Primary(
        teacher=mining.primary_teacher,
        why="only" if not several else "named" if named else "units",
    )
