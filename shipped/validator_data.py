"""Question-passage pairs, split by topic, and the candidate lists a validator learns to rank.

A list is one query, one known positive and a few negatives mined with the teacher the validator
will later check, because those are the pairs it will be asked about.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Domain:
    """Questions and passages of one kind.

    `documents`: doc_id, text, title (null where there is none), topic (what a split keeps
    together); `queries`: query_id, text; `judgments`: query_id, doc_id of known positives.
    """

    name: str
    documents: pl.DataFrame
    queries: pl.DataFrame
    judgments: pl.DataFrame


@dataclass(frozen=True)
class CandidateList:
    """A query, its known positive and its negatives, as texts."""

    domain: str
    query: str
    positive: str
    negatives: tuple[str, ...]


class ListSettings(BaseModel):
    """How negatives are chosen for training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_length: int = Field(128, ge=8, description="Tokens the teacher reads while mining.")
    pool: int = Field(30, ge=1, description="Most similar candidates that hard negatives are from.")
    hard: int = Field(3, ge=1, description="Negatives drawn from the pool, per list.")
    random: int = Field(1, ge=0, description="Negatives drawn from the whole domain, per list.")
    near_copy: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Cosine from which a candidate counts as a copy of the positive, or the "
        "question it answers as a copy of the query: probably relevant, so no negative.",
    )
    title_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of lists whose passages start with their title. Half, because titles "
        "name the topic that passages on the same topic are then no longer told apart by.",
    )


# --- splitting -------------------------------------------------------------------------------


def split_by_topic(
    domain: Domain, held_out: float | Sequence[str], seed: int
) -> tuple[Domain, Domain]:
    """Split into (training, held out) so that no topic is in both.

    `held_out` is a share of the topics, drawn by hash, or the held-out topics themselves. A query
    with positives on both sides belongs to neither.
    """
    topics = domain.documents["topic"].unique().to_list()
    if isinstance(held_out, float):
        away = {topic for topic in topics if _draw(f"{seed}:split:{topic}") < held_out}
    else:
        away = set(held_out)
    is_away = pl.col("topic").is_in(list(away))
    return (
        _restrict(domain, domain.documents.filter(~is_away)),
        _restrict(domain, domain.documents.filter(is_away)),
    )


def limit(domain: Domain, documents: int, seed: int) -> Domain:
    """Keep whole topics, drawn by hash, until there are `documents` documents or all."""
    order = (
        domain.documents.group_by("topic")
        .len()
        .with_columns(
            draw=pl.col("topic").map_elements(
                lambda topic: _draw(f"{seed}:limit:{topic}"), return_dtype=pl.Float64
            )
        )
        .sort("draw")
        .filter(pl.col("len").cum_sum() - pl.col("len") < documents)
    )
    return _restrict(domain, domain.documents.join(order, on="topic", how="semi"))


def _restrict(domain: Domain, documents: pl.DataFrame) -> Domain:
    """Keep the queries all of whose positives are among `documents`."""
    inside = domain.judgments.with_columns(
        inside=pl.col("doc_id").is_in(documents["doc_id"].to_list())
    )
    whole = inside.group_by("query_id").agg(pl.col("inside").all()).filter("inside")
    return Domain(
        domain.name,
        documents.sort("doc_id"),
        domain.queries.join(whole, on="query_id", how="semi").sort("query_id"),
        domain.judgments.join(whole, on="query_id", how="semi").sort("query_id", "doc_id"),
    )


def _draw(key: str) -> float:
    """Map a key to [0, 1), evenly and the same on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


# --- docstrings ------------------------------------------------------------------------------


def harvest_docstrings(
    name: str, folders: Sequence[Path], *, skip: Sequence[str], min_body: int = 80
) -> Domain:
    """Read the docstrings of Python sources: first paragraph as query, the rest as passage.

    Sources are parsed, never imported. Paths with a part in `skip` are left out, and so are
    summaries outside 20-200 characters and bodies below `min_body`. The topic is the file.
    Equal bodies are one document, equal summaries one query with several positives.
    """
    rows = []
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            relative = path.relative_to(folder)
            if set(relative.parts[:-1]) & set(skip) or relative.name.startswith("test_"):
                continue
            topic = f"{folder.name}/{relative.as_posix()}"
            rows += [(topic, *pair) for pair in _docstring_pairs(path, min_body)]
    pairs = pl.DataFrame(rows, schema=["topic", "query", "body"], orient="row").with_columns(
        doc_id=f"{name}-" + pl.col("body").rank("dense").cast(pl.String).str.zfill(5),
        query_id=f"{name}-q-" + pl.col("query").rank("dense").cast(pl.String).str.zfill(5),
    )
    return Domain(
        name,
        pairs.unique("doc_id", keep="first", maintain_order=True).select(
            "doc_id", pl.col("body").alias("text"), pl.lit(None, pl.String).alias("title"), "topic"
        ),
        pairs.unique("query_id", keep="first", maintain_order=True).select(
            "query_id", pl.col("query").alias("text")
        ),
        pairs.select("query_id", "doc_id").unique(maintain_order=True),
    )


def _docstring_pairs(path: Path, min_body: int) -> list[tuple[str, str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's sources
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return []  # deliberately broken files of test suites
    pairs = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            continue
        summary, _, body = inspect.cleandoc(ast.get_docstring(node) or "").partition("\n\n")
        summary, body = " ".join(summary.split()), body.strip()
        if 20 <= len(summary) <= 200 and len(body) >= min_body:
            pairs.append((summary, body))
    return pairs


# --- lists -----------------------------------------------------------------------------------


def mine_lists(
    domain: Domain, encoder: SentenceTransformer, settings: ListSettings, count: int, seed: int
) -> list[CandidateList]:
    """Make `count` lists (or as many as there are queries) with negatives that look right.

    A candidate too close to the positive, or answering a question too close to the query, is
    probably relevant and left out. Queries with too few candidates give no list.
    """
    rng = np.random.default_rng(seed)
    documents = encode(encoder, passages(domain.documents, titles=False))
    questions = encode(encoder, domain.queries["text"].to_list())
    positives = known_positives(domain)
    asked = defaultdict(list)
    for query, found in positives.items():
        for document in found:
            asked[document].append(query)

    lists = []
    texts = {titles: passages(domain.documents, titles=titles) for titles in (False, True)}
    for query in rng.permutation(len(questions))[:count].tolist():
        order = np.argsort(-(documents @ questions[query]), kind="stable")[: 2 * settings.pool]
        known = positives[query]
        pool = [
            candidate
            for candidate in order.tolist()
            if candidate not in known
            and (documents[known] @ documents[candidate]).max() < settings.near_copy
            and all(
                questions[other] @ questions[query] < settings.near_copy
                for other in asked[candidate]
            )
        ][: settings.pool]
        others = np.setdiff1d(np.arange(len(documents)), [*known, *order.tolist()])
        if len(pool) < settings.hard or len(others) < settings.random:
            continue
        negatives = [
            *rng.choice(pool, settings.hard, replace=False),
            *rng.choice(others, settings.random, replace=False),
        ]
        text = texts[bool(rng.random() < settings.title_share)]
        lists.append(
            CandidateList(
                domain.name,
                domain.queries["text"][query],
                text[int(rng.choice(known))],
                tuple(text[int(negative)] for negative in negatives),
            )
        )
    return lists


def known_positives(domain: Domain) -> dict[int, list[int]]:
    """Map each query's row to the rows of its known positives, both in frame order."""
    rows = (
        domain.judgments.join(domain.queries.select("query_id").with_row_index("query"), "query_id")
        .join(domain.documents.select("doc_id").with_row_index("document"), on="doc_id")
        .sort("query", "document")
    )
    found: dict[int, list[int]] = defaultdict(list)
    for query, document in rows.select("query", "document").iter_rows():
        found[query].append(document)
    return found


def passages(documents: pl.DataFrame, *, titles: bool) -> list[str]:
    """Texts as models see them: after their title where there is one and `titles` is on."""
    text = pl.concat_str("title", "text", separator=" ", ignore_nulls=True) if titles else "text"
    return documents.select(text).to_series().to_list()


def encode(encoder: SentenceTransformer, texts: Sequence[str]) -> Vectors:
    """Encode into float32 rows of unit length."""
    rows = np.asarray(
        encoder.encode(list(texts), batch_size=64, show_progress_bar=False), dtype=np.float32
    )
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
