"""XQuAD (Artetxe et al. 2020, arXiv 1910.11856): 240 paragraphs, 1,190 questions, 12 languages.

MTEB's XQuADRetrieval is monolingual. Here any direction of the asked languages is built: questions
join across languages by their id, paragraphs by their place, which is checked to be the same. Other
than in MTEB two questions in the same words stay two queries, for their translations may differ.
"""

from collections.abc import Iterable, Mapping

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.hub import hub_rows
from polymine.evaluation.tables import check_unique, need_columns

XQUAD = "google/xquad@51adfef1c1287aab1d2d91b5bead9bcfb9c68583"
LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")


def load_xquad(languages: Iterable[str], dataset: str = XQUAD) -> dict[str, pl.DataFrame]:
    """Load the rows of some languages.

    Args:
        languages: some of `LANGUAGES`.
        dataset: as in `hub_rows`.

    Returns:
        Rows by language, in the hub's order.

    Raises:
        InputError: for a language that XQuAD has not (fa and fr among them), before anything is
            fetched.
    """
    wanted = tuple(languages)
    missing = [language for language in wanted if language not in LANGUAGES]
    if missing:
        raise InputError(
            f"xquad: has no {', '.join(missing)}; it has {', '.join(LANGUAGES)}. "
            "Leave the others out of `languages`, or measure them on `belebele`"
        )
    return {language: hub_rows(dataset, f"xquad.{language}", "validation") for language in wanted}


def xquad_collection(rows: Mapping[str, pl.DataFrame]) -> EvaluationCollection:
    """Build all directions of the languages given.

    Args:
        rows: by language: `id` of the question, `context`, `question`.

    Returns:
        The collection; judgments name the relevant paragraph in every language.

    Raises:
        InputError: where a question belongs to another paragraph in one language than in another.
    """
    asked = pl.concat([_asked(frame, language) for language, frame in rows.items()])
    _check_places(asked)
    documents = asked.unique(["language", "place"], keep="first", maintain_order=True).select(
        doc_id=pl.format("xquad-{}-{}", "language", "place"),
        text="context",
        language="language",
        group_id=pl.format("xquad-{}", "place"),
    )
    queries = asked.select(
        query_id=pl.format("xquad-q-{}-{}", "id", "language"),
        text="question",
        language="language",
        group_id=pl.format("xquad-q-{}", "id"),
        passage=pl.format("xquad-{}", "place"),
    )
    judgments = queries.join(
        documents, left_on="passage", right_on="group_id", maintain_order="left_right"
    ).select("query_id", "doc_id", relevance=pl.lit(1, pl.Int8))
    return EvaluationCollection(documents, queries.drop("passage"), judgments)


def _asked(rows: pl.DataFrame, language: str) -> pl.DataFrame:
    """Questions with their paragraph and its place among the language's paragraphs."""
    need_columns(rows, ("id", "context", "question"), f"xquad, {language}")
    check_unique(rows, f"xquad, {language}", ["id"])
    places = (
        rows.select("context")
        .unique(maintain_order=True)
        .with_row_index("place")
        .with_columns(pl.col("place").cast(pl.String).str.zfill(4))
    )
    return rows.join(places, on="context", maintain_order="left").select(
        pl.col("id").cast(pl.String), "question", "context", "place", language=pl.lit(language)
    )


def _check_places(asked: pl.DataFrame) -> None:
    apart = asked.filter(pl.col("place").n_unique().over("id") > 1)
    if not apart.is_empty():
        places = ", ".join(f"{row['language']} {row['place']}" for row in apart.head(2).to_dicts())
        raise InputError(
            f"xquad: question {apart['id'][0]} is on different paragraphs ({places}); "
            "the languages' rows are not parallel"
        )
