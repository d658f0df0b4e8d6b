"""Any task of MTEB by name, with its scores by document and query language.

MTEB's own result cache is not used: it goes by a model's name and would not see another adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from polymine.data_contracts.errors import InputError, ModelError
from polymine.evaluation.languages import short_code
from polymine.evaluation.mteb_model import Encode, MtebModel, rows_of
from polymine.models.failures import first_line

if TYPE_CHECKING:
    from mteb import AbsTask

SEVERAL = "mul"  # ISO 639-2 for texts in several languages that nobody tells apart
# Subsets are named document language first, but not in these (read from MTEB's sources and the
# loaders they came from).
_QUERY_FIRST = (
    "mFollowIRCrossLingual",
    "CUREv1",
    "CrossLingualSemanticDiscriminationWMT19",
    "CrossLingualSemanticDiscriminationWMT21",
)
_SCHEMA = {
    "set": pl.String, "document_language": pl.String, "query_language": pl.String,
    "metric": pl.String, "count": pl.UInt32, "value": pl.Float64,
}  # fmt: skip


def mteb_scores(
    name: str, encode: Encode, languages: Iterable[str] | None = None, similarity: str = "cosine"
) -> pl.DataFrame:
    """Run one task and return its main score per subset and split.

    Args:
        name: as MTEB spells it: `STS17`, `STS22.v2`, `SIB200ClusteringS2S`, `BelebeleRetrieval`.
        encode: called with texts of one language at a time. The role is `text` where MTEB treats
            both sides alike, and `document` in clustering.
        languages: ISO 639-1, or FLORES codes where there is none; only subsets whose languages are
            all among them. All subsets if None.
        similarity: how vectors are compared: `cosine` or `dot`.

    Returns:
        `set, document_language, query_language, metric, count, value`, one row per subset. The
        document's (or first text's) language comes first. `count` is queries with a relevant
        document, pairs or texts. `set` is the task's name, with the split where there are several
        and the subset where two have the same languages.

    Raises:
        InputError: for an unknown task, one that is not about texts, a language it has not, and
            data that cannot be loaded.
        ModelError: where MTEB is not installed, or a score is not a number.
    """
    task = _task(name)
    subsets = _subsets(task, languages)
    _load(task, list(subsets))
    model = MtebModel(encode, task, subsets, similarity)
    rows = [row for split in task.eval_splits for row in _split_scores(task, split, subsets, model)]
    return _named(pl.DataFrame(rows, {"subset": pl.String, "split": pl.String, **_SCHEMA}))


def mteb_pairs(name: str, languages: Iterable[str] | None = None) -> pl.DataFrame:
    """Read the pairs of a task of semantic similarity, with people's scores.

    Args:
        name, languages: as for `mteb_scores`.

    Returns:
        `id, text_a, language_a, text_b, language_b, gold` and `group_id`, which is the id: tasks do
        not say which pairs are versions of each other.

    Raises:
        InputError: as `mteb_scores`, and for a task of another kind.
        ModelError: MTEB is not installed.
    """
    task = _task(name)
    if task.metadata.type != "STS":
        raise InputError(
            f"benchmark {name}: is a task of {task.metadata.type}; the language gap takes those of "
            "pairs with people's scores, as STS17 or STS22.v2, and xquad and belebele"
        )
    subsets = _subsets(task, languages)
    _load(task, list(subsets))
    columns = cast(Any, task).column_names
    parts = []
    for split in task.eval_splits:
        for subset, (first, second) in subsets.items():
            rows = rows_of(task, subset, split)
            pairs = pl.DataFrame({
                "text_a": list(rows[columns[0]]), "text_b": list(rows[columns[1]]),
                "gold": pl.Series(list(rows["score"]), dtype=pl.Float64),
            }).with_row_index("row")  # fmt: skip
            named = pl.format(f"{split}-{subset}-{{}}", "row")
            parts.append(pairs.select(
                named.alias("id"), "text_a", pl.lit(first).alias("language_a"), "text_b",
                pl.lit(second).alias("language_b"), "gold", named.alias("group_id"),
            ))  # fmt: skip
    return pl.concat(parts)


def mteb_version() -> str | None:
    """Version of the library, which both reads and scores its sets; None without it."""
    try:
        return version("mteb")
    except PackageNotFoundError:
        return None


def _task(name: str) -> AbsTask:
    try:
        import mteb
    except ImportError as error:
        raise ModelError(
            f"benchmark {name}: needs the package mteb. Install it with "
            "`pip install 'polymine[mteb]'`"
        ) from error
    try:
        task = mteb.get_task(name)
    except KeyError as error:
        raise InputError(f"benchmark {name}: {str(error.args[0]).removeprefix('KeyError: ')}; "
                         "see `mteb available-tasks`") from error  # fmt: skip
    if set(task.metadata.modalities) != {"text"} or not hasattr(task, "evaluate"):
        raise InputError(f"benchmark {name}: is not a task about texts that can be run by itself")
    return task


def _subsets(task: AbsTask, languages: Iterable[str] | None) -> dict[str, tuple[str, str]]:
    """(document, query) language of every subset whose languages are all asked for."""
    name = task.metadata.name
    there = {
        subset: tuple(short_code(code) for code in codes)
        for subset, codes in task.metadata.hf_subsets_to_langscripts.items()
    }
    known = {code for codes in there.values() for code in codes}
    wanted = known if languages is None else {short_code(code) for code in languages}
    missing = sorted(wanted - known)
    if missing:
        raise InputError(f"benchmark {name}: has no {', '.join(missing)}; it has "
                         f"{', '.join(sorted(known))}")  # fmt: skip
    kept = {subset: codes for subset, codes in there.items() if wanted.issuperset(codes)}
    if not kept:
        raise InputError(f"benchmark {name}: no subset has only {', '.join(sorted(wanted))}; "
                         f"its subsets are {', '.join(there)}")  # fmt: skip
    return {subset: _direction(name, subset, codes) for subset, codes in kept.items()}


def _direction(task: str, subset: str, codes: tuple[str, ...]) -> tuple[str, str]:
    if len(set(codes)) == 1:
        return codes[0], codes[0]
    # A subset that is not named by its languages says nothing of which text is in which.
    if len(codes) != 2 or subset == "default":
        return SEVERAL, SEVERAL
    return (codes[1], codes[0]) if task in _QUERY_FIRST else (codes[0], codes[1])


def _load(task: AbsTask, subsets: list[str]) -> None:
    task.hf_subsets = subsets
    try:
        task.load_data()
    # The hub client, the network and loaders of single tasks each have their own exceptions.
    except Exception as error:
        raise InputError(
            f"benchmark {task.metadata.name}: its data ({task.metadata.dataset['path']}) cannot be "
            f"loaded ({type(error).__name__}: {first_line(error)}). Connect to "
            "the hub, or set HF_HOME to a cache that has them"
        ) from error


def _split_scores(
    task: AbsTask, split: str, subsets: Mapping[str, tuple[str, str]], model: MtebModel
) -> list[dict[str, Any]]:
    scores = task.evaluate(
        # Not the protocol's signature: it asks for what is not needed here.
        cast(Any, model),
        split,
        subsets_to_run=list(subsets),
        encode_kwargs={"batch_size": 1024, "show_progress_bar": False},
    )
    metric = task.metadata.main_score
    rows = []
    for subset, (documents, queries) in subsets.items():
        value = float(scores[subset]["main_score"])
        if not np.isfinite(value):
            raise ModelError(
                f"benchmark {task.metadata.name}, {subset}: {metric} is {value}; does the model "
                "give every text the same vector?"
            )
        rows.append(
            {"subset": subset, "split": split, "set": task.metadata.name,
             "document_language": documents, "query_language": queries, "metric": metric,
             "count": _count(task, subset, split), "value": value}
        )  # fmt: skip
    return rows


def _count(task: AbsTask, subset: str, split: str) -> int:
    data = rows_of(task, subset, split)
    return len(data["relevant_docs"]) if "relevant_docs" in data else len(data)


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    """Name the split, then the subset, only where a row would otherwise not be the only one."""
    several = pl.lit(rows["split"].n_unique() > 1)
    split = pl.when(several).then(pl.format("{}-{}", "set", "split")).otherwise("set")
    named = rows.with_columns(set=split)
    key = ["set", "document_language", "query_language"]
    subset = pl.when(pl.struct(key).is_duplicated()).then(pl.format("{}-{}", "set", "subset"))
    return named.with_columns(set=subset.otherwise("set")).select(*_SCHEMA)
