"""The folder of a trained model: its adapters, what they are for, and its card."""

import json
from pathlib import Path

from pydantic import ValidationError

from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.trained import TrainedModel

ABOUT, MODEL, ADAPTERS = "polymine.json", "model", "adapters"
TRAINING = "training"  # a pipeline's part


def find_model(name: str) -> tuple[Path, TrainedModel] | None:
    """Open a trained model's folder, given it or the output folder of what trained it.

    Returns None for any other model: a hub id, a plain folder, a package. Raises ModelError for a
    folder that says what it is in a way that cannot be read.
    """
    given = Path(name).expanduser()
    for folder in (given, given / MODEL, given / TRAINING / MODEL):
        about = folder / ABOUT
        if not about.is_file():
            continue
        try:
            trained = TrainedModel.model_validate(json.loads(about.read_text(encoding="utf-8")))
        except (ValidationError, ValueError) as error:
            raise ModelError(
                f"{about}: does not describe a trained model: {str(error).splitlines()[0]}; train "
                "again, or name one adapter below it"
            ) from error
        missing = [a for a in trained.adapters if not adapter_folder(folder, a).is_dir()]
        if missing:
            raise ModelError(f"{folder}: lacks {', '.join(missing)} in {ADAPTERS}/; train again")
        return folder, trained
    return None


def adapter_folder(folder: Path, name: str) -> Path:
    """Name the folder of one adapter, as plain PEFT reads it."""
    return folder / ADAPTERS / name
