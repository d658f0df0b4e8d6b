"""Rounds of a pipeline: what one has trained mines in the next, beside the other teachers."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from polymine.data_contracts.errors import PolymineError
from polymine.data_contracts.settings import (
    EncoderSettings,
    MiningSettings,
    OutputSettings,
    TeacherSettings,
    TrainingSettings,
)
from polymine.data_contracts.settings.training import MOST_ROUNDS, name_round
from polymine.reporting.report import Note
from polymine.reporting.templates import say
from polymine.tasks.reporting.parts import part_of
from polymine.tasks.runs.diff import diff_runs
from polymine.tasks.runs.folder import RunFolder
from polymine.tasks.runs.run import FinishedRun
from polymine.tasks.store.model_folder import adapter_folder, find_model

ROUNDS = tuple(
    name_round(number) for number in range(1, MOST_ROUNDS)
)  # folders of all but the last


def folder_of_round(
    output: OutputSettings, training: TrainingSettings, number: int
) -> OutputSettings:
    """Give a round its folder; the last one's is the pipeline's own."""
    return output if number == training.rounds else part_of(output, name_round(number))


def with_teachers(
    mining: MiningSettings, base: EncoderSettings, trained: Mapping[str, Path], first: Path
) -> MiningSettings:
    """Add the model of the round before, called as it was trained, to those that mine.

    The primary teacher stays that of the first round: a model finds what it was trained on.

    Args:
        mining: of the first round.
        base: what was trained.
        trained: folders of all rounds' models by name, the last one's first.
        first: folder that the first round has mined into.

    Raises:
        PolymineError: the folder holds no trained model.
    """
    name, folder = next(iter(trained.items()))
    found = find_model(str(folder))
    if found is None:
        raise PolymineError(f"{folder}: holds no trained model; run the pipeline again")
    where, model = found
    further = TeacherSettings(
        name=name.replace("-", "_"),
        model=str(adapter_folder(where, model.adapters[0])),
        query_prompt=model.query_prompt,
        document_prompt=model.document_prompt,
        similarity="cosine",
        trust_remote_code=base.trust_remote_code,
    )
    settled = mining.with_primary(RunFolder(first).mining.primary_teacher)
    return settled.model_copy(update={"teachers": (*mining.teachers, further)})


def compare_rounds(output: OutputSettings, training: TrainingSettings) -> tuple[Note, ...]:
    """Say what became of the negatives from each round to the next."""
    numbers = range(1, training.rounds + 1)
    folders = [
        Path(part_of(folder_of_round(output, training, n), "mining").path).absolute()
        for n in numbers
    ]
    runs = [FinishedRun(folder) for folder in folders]
    return tuple(
        Note("remark", say("learning", "round_changed", number, diff_runs(before, after)))
        for number, (before, after) in enumerate(pairwise(runs), start=2)
    )
