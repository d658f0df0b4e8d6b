"""Encodes texts with a model to be measured: each language with its adapter, each text once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine import models
from polymine.data_contracts.errors import ModelError, SettingsError
from polymine.data_contracts.references import fingerprint
from polymine.data_contracts.settings import EngineSettings, EvaluationSettings, TeacherSettings
from polymine.data_contracts.settings.locations import Named
from polymine.data_contracts.trained import BASE, TrainedModel
from polymine.mining.hashing import hash_texts
from polymine.models.finding import adapter_base
from polymine.tasks.mining.embedding import VERSION, store_vectors
from polymine.tasks.sources.allowed_roots import check_named
from polymine.tasks.store.model_folder import adapter_folder, find_model
from polymine.tasks.store.vectors import StoredVectors, family_of

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """A model to measure: a plain one, or a trained one with its adapters by language.

    Args:
        name: in tables and logs.
        model: as `polymine.models` names it; of a trained model, its base.
        trained: None for a plain model, or its folder and what that says.
    """

    name: str
    model: str
    query_prompt: str
    document_prompt: str
    max_length: int | None
    folder: str | None = None
    trained: TrainedModel | None = None
    trust_remote_code: bool = False

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides its vectors, the kind of device and its precision included."""
        routes = dict(self.trained.routes) if self.trained else {}
        used = {name: models.fingerprint(self._path(name)) for name in set(routes.values())}
        device = models.visible_devices()[0].partition(":")[0]
        return fingerprint(
            vectors=VERSION,
            model=models.fingerprint(self.model),
            routes={language: used[name] for language, name in routes.items()},
            prompts=[self.query_prompt, self.document_prompt],
            max_length=self.max_length,
            dtype=models.resolve_dtype(self.as_teacher(self.model).dtype, device),
            device=device,
            remote_code=self.trust_remote_code,
        )

    def as_teacher(self, path: str) -> TeacherSettings:
        """Say how the model at `path`, the base or one of the adapters, is to be loaded."""
        return TeacherSettings(
            name=_column_name(self.name),
            model=path,
            max_length=self.max_length,
            trust_remote_code=self.trust_remote_code,
        )

    def path_for(self, language: str) -> str:
        """Name the model that encodes this language."""
        return self._path(self.trained.adapter_of(language) if self.trained else BASE)

    def leaves_untouched(self, languages: Iterable[str]) -> bool:
        """Whether it is a trained model and encodes all these languages with the plain base."""
        trained = self.trained
        return trained is not None and {trained.adapter_of(each) for each in languages} == {BASE}

    def _path(self, adapter: str) -> str:
        if adapter == BASE or self.folder is None:
            return self.model
        return str(adapter_folder(Path(self.folder), adapter))


def open_measured(
    name: str, model: str, settings: EvaluationSettings, trust: bool | None = None
) -> Measured:
    """Find a model and, if it is a trained one, its adapters.

    Prompts are the settings', or what the model was trained with where the settings have none;
    `trust` lets its own code run, as the settings say of the base if not given; it is the code of
    a trained model's base, so that is what the machine has to trust.
    Raises ModelError when it is not there, SettingsError when this machine lets no run use it.
    """
    trust = settings.trust_remote_code if trust is None else trust
    plain = Measured(
        name,
        model,
        settings.query_prompt,
        settings.document_prompt,
        settings.max_length,
        trust_remote_code=trust,
    )
    found = find_model(model)
    if found is None:
        _find_all(name, [model], trust)
        return plain
    folder, trained = found
    prompts = (trained.query_prompt, trained.document_prompt)
    measured = replace(
        _prompted(plain, prompts), model=trained.base, folder=str(folder), trained=trained
    )
    _find_all(name, [trained.base, *map(measured._path, trained.adapters)], trust)
    return measured


def _find_all(name: str, wanted: Sequence[str], trust: bool) -> None:
    """Find models and what they stand on, and refuse what this machine lets no run use.

    Each adapter says again what it stands on, and others may have written that. The code that would
    run is that of the whole models at the bottom.
    """
    left, known = list(wanted), set[str]()
    while left:
        if (model := left.pop()) in known:
            continue
        known.add(model)
        folder = Path(model).expanduser()
        base = adapter_base(folder) if folder.is_dir() else None
        key = f"evaluation, model `{name}`"
        check_named([Named(key, model, "model", trust and base is None)])  # before it is fetched
        if base := base or adapter_base(models.resolve(model).folder):
            left.append(base)


def open_base(
    name: str,
    prompts: tuple[str, str],
    evaluation: EvaluationSettings,
    trust: bool | None = None,
) -> Measured:
    """Find the untouched base, to be measured as the models that are compared with it.

    Args:
        name: of the model.
        prompts: before queries and documents, as those models were trained; the settings' come
            first.
        evaluation: says how to measure.
        trust: whether its own code may run; as `evaluation` says if not given.

    Raises:
        ModelError: it is not there.
    """
    return _prompted(open_measured("base", name, evaluation, trust), prompts)


def check_candidates(evaluation: EvaluationSettings) -> tuple[Measured, ...]:
    """Find the models that the settings name, and their base if they name one.

    For before any work: what a pipeline will train need not be there yet. Raises ModelError for a
    model that is not there.
    """
    if evaluation.base is not None:
        open_measured("base", evaluation.base, evaluation)
    return tuple(
        open_measured(choice.name, choice.model, evaluation, choice.trust_remote_code)
        for choice in evaluation.models
    )


def open_candidates(evaluation: EvaluationSettings) -> tuple[Measured, tuple[Measured, ...]]:
    """Find the untouched base and the models to compare with it, before anything is encoded.

    The base reads texts with the prompts of the first model that was trained on it, whatever name
    it goes by. Raises SettingsError where nothing is to be measured, ModelError for a model that
    is not there.
    """
    if not evaluation.sets:
        raise SettingsError("evaluation.sets: name at least one set to measure on")
    if not evaluation.models:
        raise SettingsError("evaluation.models: name at least one model to compare with its base")
    candidates = check_candidates(evaluation)
    trained = [each for each in candidates if each.trained is not None]
    name = evaluation.base or (trained[0].model if trained else None)
    if name is None:
        raise SettingsError("evaluation.base: name the untouched model that all are compared with")
    own = evaluation.base is None and trained[0].trust_remote_code  # it was trusted with its model
    trust = own or evaluation.trust_remote_code
    base = open_measured("base", name, evaluation, trust)
    content = models.fingerprint(base.model)
    alike = (each for each in trained if models.fingerprint(each.model) == content)
    prompts = next(((each.query_prompt, each.document_prompt) for each in alike), ("", ""))
    return open_base(name, prompts, evaluation, trust), candidates


def encode(
    measured: Measured,
    texts: Sequence[str],
    languages: Sequence[str],
    side: str,
    engine: EngineSettings,
    root: str,
    source: str = "",
) -> Matrix:
    """Return unit vectors (n, d) of texts in their order; `side` is `queries` or `documents`.

    Vectors are stored as a teacher's are: what another run or set has encoded is not encoded again.
    """
    prompt = measured.query_prompt if side == "queries" else measured.document_prompt
    table = pl.DataFrame({"text": list(texts), "language": list(languages)})
    paths = {each: measured.path_for(each) for each in table["language"].unique()}
    table = table.with_columns(model=pl.col("language").replace_strict(paths)).with_row_index("row")
    out: Matrix | None = None
    for (path,), part in table.group_by("model", maintain_order=True):
        teacher = measured.as_teacher(str(path))
        label = f"{measured.name} {side}"
        place, _ = store_vectors(teacher, prompt, part["text"], engine, root, label, source)
        stored = StoredVectors(family_of(place), hash_texts(part["text"]))
        vectors = stored.take(np.arange(len(part)))
        if out is None:
            out = np.empty((len(table), vectors.shape[1]), dtype=np.float32)
        if vectors.shape[1] != out.shape[1]:
            raise ModelError(
                f"{measured.name}: adapters give {out.shape[1]} and {vectors.shape[1]} components; "
                "they belong to different bases"
            )
        out[part["row"].to_numpy()] = vectors
    assert out is not None, "there are no texts to encode"
    return out


def _prompted(measured: Measured, prompts: tuple[str, str]) -> Measured:
    """Give it these prompts where it has none."""
    query, document = prompts
    return replace(
        measured,
        query_prompt=measured.query_prompt or query,
        document_prompt=measured.document_prompt or document,
    )


def _column_name(name: str) -> str:
    return name.replace("-", "_")[:32].strip("_") or "model"
