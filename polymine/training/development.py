"""Queries that training never sees, asked of an encoder while it trains.

They are encoded as training encodes: each language by its adapter, texts up to the same length, in
the same precision. The store's own way (`polymine.mining.embedding`) would have to write every
step's adapter first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from polymine.data_contracts.settings import AdaptedModel, StepSettings, TrainingSettings
from polymine.evaluation.collection import POOL, EvaluationCollection
from polymine.evaluation.retrieval import measure
from polymine.training.team import ALONE, Team

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = 64  # texts that are encoded at once
logger = logging.getLogger("polymine.training")


@dataclass(frozen=True)
class Part:
    """What an encoder is asked.

    Args:
        collection: in which something is relevant to some query.
        languages: whose texts pass through the adapter; None for all. Only directions with one of
            them count: nothing else can change.
        base: prompts.
        half: whether to compute in bfloat16.
        team: of the processes that train, each of which encodes some of the texts.
    """

    collection: EvaluationCollection
    languages: Sequence[str] | None
    base: AdaptedModel
    half: bool
    team: Team = ALONE

    @classmethod
    def of(
        cls,
        whole: EvaluationCollection,
        step: StepSettings,
        training: TrainingSettings,
        half: bool,
        team: Team = ALONE,
    ) -> Part | None:
        """Take what a step can change; None where that is too little to choose by."""
        asked = _touched(
            whole.directions.filter(pl.col("document_language") != POOL), step.languages
        )
        asked = asked.filter(pl.col("queries") > 0)
        if step.loss.kind == "align" or not asked.height:
            return None
        spoken = {*asked["document_language"], *asked["query_language"]}
        part = cls(whole.only(tuple(sorted(spoken))), step.languages, training.base, half, team)
        if part.collection.answered >= training.development.fewest:
            return part
        logger.warning(
            "step %s: %d questions of the development part have a text in %s, too few to choose "
            "by; its last step is kept",
            step.name, part.collection.answered, ", ".join(step.languages or spoken),
        )  # fmt: skip
        return None

    @property
    def texts(self) -> int:
        """Count what a look has to encode."""
        return self.collection.queries.height + self.collection.documents.height

    @cached_property
    def asked(self) -> dict[str, int]:
        """Count the questions of each language of the queries, in directions that can change."""
        pairs = _touched(self.collection.relevant, self.languages)
        asked = pairs.join(self.collection.questions, on="query_id").group_by("query_language")
        return dict(asked.agg(pl.col("question").n_unique()).sort("query_language").rows())

    def score(self, encoder: SentenceTransformer) -> dict[str, float]:
        """Measure an encoder as it is: mean nDCG@10 by language of the queries, and over all.

        All processes that train get the same figures, or one of them would end before the others.
        """
        vectors = (
            self._encode_whole(encoder, table, self.base.prompt_for(side))
            for side, table in (
                ("queries", self.collection.queries), ("documents", self.collection.documents),
            )
        )  # fmt: skip
        rows = measure(self.collection, *vectors, name="development", pooled=False)
        rows = _touched(rows, self.languages)
        means = rows.group_by("query_language").agg(pl.col("ndcg").mean()).sort("query_language")
        found = {**dict(means.rows()), POOL: float(rows["ndcg"].mean())}  # type: ignore[arg-type]
        return self.team.hear(found)

    def _encode_whole(
        self, encoder: SentenceTransformer, table: pl.DataFrame, prompt: str
    ) -> NDArray[np.float32]:
        """Vectors of all texts, of which each process encodes some."""
        own = self._encode(encoder, table[self.team.read(table.height)], prompt)
        [vectors] = self.team.whole([torch.from_numpy(own)], table.height)
        return vectors.numpy()

    def _encode(
        self, encoder: SentenceTransformer, table: pl.DataFrame, prompt: str
    ) -> NDArray[np.float32]:
        """Encode as training does: each language by its adapter, up to the same length."""
        from sentence_transformers.util import batch_to_device

        device, out = encoder.device, None
        training = encoder.training
        encoder.eval()
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=self.half):
            for rows, language in _batches(table):
                texts = table["text"].gather(rows).to_list()
                features = batch_to_device(encoder.preprocess(texts, prompt=prompt or None), device)
                vectors = encoder(features | {"task": language})["sentence_embedding"].float()
                vectors = torch.nn.functional.normalize(vectors, dim=1).cpu().numpy()
                out = np.empty((table.height, vectors.shape[1]), np.float32) if out is None else out
                out[rows] = vectors
        encoder.train(training)
        assert out is not None, "some query has an answer"
        return out


def _touched(rows: pl.DataFrame, languages: Sequence[str] | None) -> pl.DataFrame:
    """Keep directions in which some text passes through the adapter."""
    if languages is None:
        return rows
    sides = (pl.col(f"{side}_language").is_in(list(languages)) for side in ("document", "query"))
    return rows.filter(pl.any_horizontal(*sides))


def _batches(table: pl.DataFrame) -> Iterator[tuple[NDArray[np.int64], str]]:
    """Rows of like length and one language."""
    rows = table.with_row_index("row").sort(pl.col("text").str.len_chars(), "row")
    for (language,), part in rows.group_by("language", maintain_order=True):
        for piece in part.iter_slices(BATCH):
            yield piece["row"].to_numpy().astype(np.int64), str(language)
