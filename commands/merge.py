"""`polymine merge`: an adapter and its base, or what was trained of a chain, as one model."""

from collections.abc import Sequence
from pathlib import Path

from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.trained import TrainedModel


def merge(run: Path, adapter: str | None, to: Path | None) -> str:
    """Write the merged model and say where; refuses a folder that is there."""
    from polymine.models import load_encoder, quiet
    from polymine.models.finding import bases_of
    from polymine.tasks.store.atomic import staged_new
    from polymine.tasks.store.model_folder import adapter_folder, find_model

    found = find_model(str(run))
    if found is None:
        raise ModelError(
            f"{run}: holds no trained model; name the output folder of `polymine train` or of "
            "`polymine pipeline`"
        )
    folder, trained = found
    name = _choose(trained, adapter)
    ending = "-merged" if len(trained.adapters) == 1 else f"-{name}-merged"
    adapters = adapter_folder(folder, name)
    target = to or run.with_name(run.name + ending)
    with staged_new(target) as beside:
        encoder = load_encoder(str(adapters), device="cpu", dtype="float32")
        encoder.prompts = {"query": trained.query_prompt, "document": trained.document_prompt}
        with quiet():
            encoder.save_pretrained(str(beside), create_model_card=False)
    return f"{target}: {name} merged into {_whole(bases_of(adapters), trained.base, target)}"


def _whole(bases: Sequence[str], base: str, target: Path) -> str:
    """Say what the merged model is; that of a chain is opened with a word more."""
    if len(bases) < 2:
        return base
    opened = f'SentenceTransformer("{target}", trust_remote_code=True)'
    return f"the chain of {' and '.join(bases)}; open it as {opened}, where Polymine is installed"


def _choose(trained: TrainedModel, adapter: str | None) -> str:
    names = trained.adapters
    if adapter is None and len(names) == 1:
        return names[0]
    if adapter in names:
        return str(adapter)
    asked = f"no adapter {adapter!r}" if adapter else "several adapters"
    raise ModelError(f"{asked}: name one of {', '.join(names)}, as `polymine merge RUN {names[0]}`")
