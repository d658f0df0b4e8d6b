"""Puts the folder of a trained model together from the adapters of its steps."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import dataframely as dy
import polars as pl

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.learning import DevelopmentCurve, TrainingCurve
from polymine.data_contracts.notes import AdapterNote
from polymine.data_contracts.references import DatasetRef, fingerprint
from polymine.data_contracts.settings import DATA_KINDS, StepSettings, TrainingSettings
from polymine.data_contracts.trained import TrainedModel
from polymine.models.finding import CHAIN, bases_of
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.store.atomic import write_bytes
from polymine.tasks.store.datasets import Dataset, note_of, open_folder
from polymine.tasks.store.errors import disk_errors_explained
from polymine.tasks.store.model_folder import ABOUT, ADAPTERS, MODEL
from polymine.tasks.training.steps import CURVE, LOGS, LOOKS, adapters_of
from polymine.training import recipes
from polymine.training.adapters import CONFIG, concatenate
from polymine.training.chain import rename_bases

VERSION = 3
logger = logging.getLogger("polymine.training")


def describe_model(
    training: TrainingSettings,
    steps: Sequence[StepSettings],
    made: Mapping[str, DatasetRef],
    rows: Mapping[str, DatasetRef],
) -> TrainedModel:
    """Say what the trained adapters are and which language uses which."""
    routes = recipes.routes(steps, training)
    places = {"data": {"__all__": set(DATA_KINDS)}}  # of this machine alone
    return TrainedModel(
        base=_lasting_name(training.base.model),
        routes=routes,
        query_prompt=training.base.prompt_for("queries"),
        document_prompt=training.base.prompt_for("documents"),
        max_length=training.base.max_length,
        fingerprint=fingerprint(
            adapters={name: reference.fingerprint for name, reference in made.items()},
            routes=routes,
        ),
        steps=[step.model_dump(mode="json", exclude=places) for step in steps],
        rows={name: reference.fingerprint for name, reference in rows.items()},
    )


def _lasting_name(base: str) -> str:
    """Name a local folder from the root: from another current folder it would be a hub id."""
    return (
        str(Path(base).expanduser().absolute()) if models.resolve(base).kind == "folder" else base
    )


@stage("assemble")
def assemble(run: Context, model: TrainedModel, made: Mapping[str, DatasetRef]) -> Plan:
    """Write the model's folder: each adapter whole, with what it stands on."""

    def write(dataset: Dataset) -> None:
        with disk_errors_explained(dataset.folder):
            for name in model.adapters:
                _assemble(adapters_of(made[name]), dataset.folder / ADAPTERS / name, model.base)
        write_bytes(dataset.folder / ABOUT, model.model_dump_json(indent=1).encode())

    return Plan(
        contract="models",
        depends={"version": VERSION, "model": model},
        open=lambda _: Maker(lambda *_: write),
        resumable=False,
    )


def _assemble(parts: Sequence[Path], folder: Path, base: str) -> None:
    """Write one adapter with what it stands on; a chain, or all weights of a model, are whole."""
    *_, own = parts
    if (own / CONFIG).is_file():
        concatenate(parts, folder, base)
        return
    shutil.copytree(own, folder)
    if (own / CHAIN).is_file():
        _, target = bases_of(own)
        rename_bases(folder, base, _lasting_name(target))


def model_files(assembled: DatasetRef) -> dict[str, Path]:
    """Name the files of a model as they lie in an output folder."""
    folder = open_folder(assembled.path)
    files = sorted(path for path in (folder / ADAPTERS).rglob("*") if path.is_file())
    files.append(folder / ABOUT)
    return {f"{MODEL}/{path.relative_to(folder).as_posix()}": path for path in files}


def log_files(made: Mapping[str, DatasetRef]) -> dict[str, Path]:
    """Name what trackers wrote on this machine, by step."""
    found = {}
    for name, reference in made.items():
        folder = open_folder(reference.path) / LOGS
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                found[f"{LOGS}/{name}/{path.relative_to(folder).as_posix()}"] = path
    return found


def read_curves(made: Mapping[str, DatasetRef]) -> pl.DataFrame:
    """Read the curves of all steps, in their order."""
    return _of_steps(made, CURVE, TrainingCurve)


def read_looks(made: Mapping[str, DatasetRef]) -> pl.DataFrame:
    """Read what each look at the development part showed, of the steps that had one."""
    looked = {name: ref for name, ref in made.items() if note_of(ref, AdapterNote).chosen}
    return _of_steps(looked, LOOKS, DevelopmentCurve)


def _of_steps(made: Mapping[str, DatasetRef], file: str, schema: type[dy.Schema]) -> pl.DataFrame:
    tables = [
        pl.read_parquet(open_folder(ref.path) / file, glob=False).with_columns(
            step_name=pl.lit(name)
        )
        for name, ref in made.items()
    ]
    return pl.concat(tables) if tables else schema.create_empty()


def check_strict(
    training: TrainingSettings, model: TrainedModel, made: Mapping[str, DatasetRef]
) -> None:
    """Refuse adapters that are below the base on the development part, where settings say so.

    Languages with too few questions are named in the log and held against nothing. Raises
    ModelError for an adapter that some language uses and that is below, over all queries or in one
    of their languages, or was not measured.
    """
    for name in model.adapters if training.development.strict else ():
        note = note_of(made[name], AdapterNote)
        chosen = note.chosen
        if chosen is None:
            raise ModelError(
                f"step {name}: the development part has too few questions in its languages to hold "
                "it against the base; add some, or set training.development.strict = false"
            )
        if chosen.ndcg < chosen.base:
            raise ModelError(
                f"step {name}: ends at nDCG@10 {chosen.ndcg:.4f} on the development part, below "
                f"the base's {chosen.base:.4f} ({chosen.questions:,} questions); train it less or "
                "on other data, or set training.development.strict = false to have it nevertheless"
            )
        if chosen.below:
            told = ", ".join(
                f"{each.language} {each.ndcg:.4f}, the base {each.base:.4f} "
                f"({each.questions:,} questions)"
                for each in chosen.below
            )
            raise ModelError(
                f"step {name}: ends below the base in languages of the development part's queries "
                f"(nDCG@10): {told}; set training.development.never_below_base = "
                '"languages" to choose what is below in none, give these languages more data, or '
                "set training.development.strict = false to have it nevertheless"
            )
        if few := unheld(note):
            logger.warning(
                "step %s: not held against the base, with fewer than %d questions of the "
                "development part: queries in %s",
                name, training.development.fewest,
                ", ".join(f"{language} ({count})" for language, count in few.items()),
            )  # fmt: skip


def unheld(note: AdapterNote) -> dict[str, int]:
    """Count the questions of languages with too few to be held against the base."""
    from polymine.training.batches import languages_of  # which imports torch

    trained = {languages_of(part)[1] for part in note.rows}
    return {} if note.chosen is None else note.chosen.unheld(trained)


def describe_steps(made: Mapping[str, DatasetRef]) -> dict[str, AdapterNote]:
    """Read what each step was trained on and how fast."""
    return {name: note_of(reference, AdapterNote) for name, reference in made.items()}
