"""Encodes texts with a model to be measured: each language with its adapter, each text once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine import models
from polymine.data_contracts.errors import ModelError, SettingsError
from polymine.data_contracts.references import DatasetRef, fingerprint
from polymine.data_contracts.settings import EncoderSettings, EvaluationSettings
from polymine.data_contracts.settings.locations import Named
from polymine.data_contracts.trained import BASE, TrainedModel
from polymine.evaluation.gap.shift import Offsets, language_offsets, without_offsets
from polymine.mining.hashing import hash_texts
from polymine.mining.teachers import Rows
from polymine.models.finding import bases_of
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.execution import carry_out
from polymine.tasks.engine.load import Load
from polymine.tasks.engine.plan import Plan
from polymine.tasks.mining.embedding import VERSION, plan_vectors
from polymine.tasks.sources.allowed_roots import check_named
from polymine.tasks.store.model_folder import adapter_folder, find_model
from polymine.tasks.store.vectors import StoredVectors, family_of

Matrix = NDArray[np.float32]
Side = tuple[pl.DataFrame, str]  # text and language; `queries` or `documents`


@dataclass(frozen=True)
class Measured:
    """A model to measure: a plain one, or a trained one with its adapters by language.

    Args:
        name: in tables and logs.
        call: how it is called; of a trained model, its base.
        trained: None for a plain model, or its folder and what that says.
        shift: whether each language's mean offset is subtracted from its vectors.
    """

    name: str
    call: EncoderSettings
    folder: str | None = None
    trained: TrainedModel | None = None
    shift: bool = False

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides its vectors, the kind of device and its precision included."""
        routes = dict(self.trained.routes) if self.trained else {}
        used = {name: models.fingerprint(self._path(name)) for name in set(routes.values())}
        device = models.visible_devices()[0].partition(":")[0]
        return fingerprint(
            vectors=VERSION,
            model=models.fingerprint(self.call.model),
            routes={language: used[name] for language, name in routes.items()},
            prompts=[self.call.query_prompt, self.call.document_prompt],
            max_length=self.call.max_length,
            dtype=models.dtype_of(self.call, device),
            device=device,
            remote_code=self.call.trust_remote_code,
            **({"shift": "both sides"} if self.shift else {}),
            **({"similarity": "dot"} if self.call.similarity == "dot" else {}),
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
            return self.call.model
        return str(adapter_folder(Path(self.folder), adapter))


def as_measured(base: EncoderSettings, evaluation: EvaluationSettings) -> EncoderSettings:
    """Say how the base of a training, and what is trained on it, is called to be measured.

    That is with its prompts, but at full length and in the fastest precision, unless
    `evaluation.base` says otherwise.
    """
    own = evaluation.base or EncoderSettings(model=base.model)
    return base.model_copy(update={"max_length": own.max_length, "dtype": own.dtype})


def open_measured(name: str, call: EncoderSettings, *, shift: bool = False) -> Measured:
    """Find a model and, if it is a trained one, its base and adapters.

    Where `call` names no prompts, a trained model reads with those it was trained with, another
    with its own; likewise how vectors are compared, which training does by cosine. The code that
    `call` lets run is that of a trained model's base, so that is what the machine has to trust.
    Raises ModelError when it is not there, SettingsError when this machine lets no run use it.
    """
    found = find_model(call.model)
    if found is None:
        _find_all(name, [call.model], call.trust_remote_code)
        models.check_call(call)
        return Measured(name, models.settled(call), shift=shift)
    folder, trained = found
    learned = {"query_prompt": trained.query_prompt, "document_prompt": trained.document_prompt}
    angle = {"similarity": "cosine"} if call.similarity == "auto" else {}  # as it was trained
    said = {key: text for key in learned if (text := getattr(call, key)) is not None}
    call = call.model_copy(update={**learned, **said, **angle, "model": trained.base})
    measured = Measured(name, call, str(folder), trained, shift)
    wanted = [trained.base, *map(measured._path, trained.adapters)]
    _find_all(name, wanted, call.trust_remote_code)
    models.check_call(call)
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
        bases = bases_of(folder) if folder.is_dir() else ()
        key = f"evaluation, model `{name}`"
        check_named([Named(key, model, "model", trust and not bases)])  # before it is fetched
        left += bases or bases_of(models.resolve(model).folder)


def check_candidates(evaluation: EvaluationSettings) -> tuple[Measured, ...]:
    """Find the models that the settings name, and their base if they name one.

    For before any work: what a pipeline will train need not be there yet. Raises ModelError for a
    model that is not there.
    """
    if evaluation.base is not None:
        open_measured("base", evaluation.base)
    return tuple(
        open_measured(choice.name, choice, shift=choice.shift) for choice in evaluation.models
    )


def open_candidates(evaluation: EvaluationSettings) -> tuple[Measured, tuple[Measured, ...]]:
    """Find the untouched base and the models to compare with it, before anything is encoded.

    The base reads texts with the prompts of the first model that was trained on it, whatever name
    it goes by, where it names none of its own. Without models the base is measured by itself.
    Raises SettingsError where nothing is to be measured, ModelError for a model that is not there.
    """
    if not evaluation.sets:
        raise SettingsError("evaluation.sets: name at least one set to measure on")
    candidates = check_candidates(evaluation)
    trained = [each.call for each in candidates if each.trained is not None]
    if evaluation.base is None and not trained:
        raise SettingsError("evaluation.base: name the untouched model that all are compared with")
    unsaid = {"query_prompt": None, "document_prompt": None, "similarity": "auto"}
    call = evaluation.base or trained[0].model_copy(update=unsaid)
    base = open_measured("base", call)
    if base.trained is not None:
        return base, candidates
    content = models.fingerprint(base.call.model)
    for each in trained:
        if models.fingerprint(each.model) == content:
            return replace(base, call=models.settled(call, otherwise=each)), candidates
    return base, candidates


@dataclass(frozen=True)
class Encoded:
    """Vectors of texts where they are stored, read when they are asked for: `Vectors`.

    Args:
        sources: vectors of each model's texts.
        source, place: of each text: which of these, and its row there, (n,) each.
    """

    sources: tuple[StoredVectors, ...]
    source: Rows
    place: Rows

    def __len__(self) -> int:
        return len(self.source)

    @property
    def dimension(self) -> int:
        """Components per vector."""
        return self.sources[0].dimension

    def take(self, rows: Rows) -> Matrix:
        """Copy the vectors of `rows` out of the files."""
        if len(self.sources) == 1:
            return self.sources[0].take(rows)
        out = np.empty((len(rows), self.dimension), dtype=np.float32)
        for number, vectors in enumerate(self.sources):
            here = self.source[rows] == number
            out[here] = vectors.take(self.place[rows[here]])
        return out


def _plans(
    run: Context, measured: Measured, table: pl.DataFrame, side: str
) -> Iterator[tuple[str, pl.DataFrame, Plan | DatasetRef]]:
    """Plan the vectors of texts (text, language): each model, its texts with `row`, their plan."""
    paths = {each: measured.path_for(each) for each in table["language"].unique()}
    table = table.with_columns(model=pl.col("language").replace_strict(paths)).with_row_index("row")
    prompt, label = measured.call.prompt_for(side), f"{measured.name} {side}"
    for (path,), part in table.group_by("model", maintain_order=True):
        model = measured.call.model_copy(update={"model": str(path)})
        yield str(path), part, plan_vectors(run, model, prompt, part["text"], label)


def load_of(
    run: Context, measured: Measured, tables: Iterable[tuple[pl.DataFrame, str]]
) -> Load | None:
    """Say what there is to encode of texts (text, language) with the side that they are.

    What a plan has counted before is not counted again. None where all vectors are there.
    """
    plans = [plan for table, side in tables for *_, plan in _plans(run, measured, table, side)]
    todo = [plan for plan in plans if isinstance(plan, Plan) and run.graph.count(plan.fingerprint)]
    loads = [load for plan in todo if (load := plan.load()) is not None]
    if not loads:
        return None
    most = max(loads, key=lambda load: load.amount)
    return replace(most, amount=sum(load.amount for load in loads), estimated=True)


def embed(
    run: Context, measured: Measured, texts: Iterable[str], languages: Iterable[str], side: str
) -> Encoded:
    """Encode texts; `side` is `queries` or `documents`.

    They have unit length unless the model compares by dot product.

    Vectors are stored as a teacher's are: what another run or set has encoded is not encoded again.
    """
    table = pl.DataFrame({"text": pl.Series(texts), "language": pl.Series(languages)})
    sources: list[StoredVectors] = []
    source, place = np.empty((2, len(table)), dtype=np.int64)
    for path, part, plan in _plans(run, measured, table, side):
        try:
            family = carry_out(run, plan)
        except ModelError as error:  # several are measured: say which
            raise ModelError(f"evaluation, model `{measured.name}` ({path}): {error}") from error
        rows = part["row"].to_numpy()
        source[rows], place[rows] = len(sources), np.arange(len(part))
        sources.append(StoredVectors(family_of(family.path), hash_texts(part["text"])))
    assert sources, "there are no texts to encode"
    widths = [each.dimension for each in sources]
    if len(set(widths)) > 1:
        raise ModelError(
            f"{measured.name}: adapters give {widths[0]} and {max(set(widths) - {widths[0]})} "
            "components; they belong to different bases"
        )
    return Encoded(tuple(sources), source, place)


def encode(
    run: Context,
    measured: Measured,
    texts: Iterable[str],
    languages: Iterable[str],
    side: str,
    offsets: Offsets | None = None,
    *,
    unit: bool = False,
) -> Matrix:
    """Return vectors (n, d) of texts in their order, as `embed` stores them.

    What `offsets_of` the set gives is subtracted from them, which leaves their directions alone:
    they then have unit length, whatever the model compares by, as they have with `unit`.
    """
    stored = embed(run, measured, texts, languages, side)
    vectors = stored.take(np.arange(len(stored)))
    if measured.call.similarity == "dot" and (unit or offsets):
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return without_offsets(vectors, pl.Series(languages), offsets) if offsets else vectors


def offsets_of(run: Context, measured: Measured, sides: Iterable[Side]) -> Offsets:
    """Find the offsets of languages that a model's vectors of a set are to lose, if any.

    Args:
        run: to encode in.
        measured: the model.
        sides: text, language of each side of the set, and as what it is encoded.
    """
    if not measured.shift:
        return {}
    found = []
    for table, side in sides:
        texts, languages = table["text"], table["language"]
        found.append((encode(run, measured, texts, languages, side, unit=True), languages))
    return language_offsets(found)
