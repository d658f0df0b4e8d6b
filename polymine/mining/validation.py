"""Verdicts of a cross-encoder, asked only as often as they are needed.

Every query takes its survivors in order, a wave at a time, until it has its negatives; the pairs
of a wave are batched across all queries. A verdict is relative to the query's known positive, in
logits, because logits of different queries do not compare.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import ValidationSettings
from polymine.mining.batched_model import BatchedModel
from polymine.progress import Progress, Silent

# Scores (query_id, doc_id) rows: one finite float32 logit each, in order.
PairScore = Callable[[pl.DataFrame, str], NDArray[np.float32]]


class PairScorer(BatchedModel):
    """A cross-encoder on every device that is visible."""

    what, advice = "validation", "Set a lower `mining.validation.max_length`"

    @classmethod
    def load(cls, settings: ValidationSettings, threads: int, batch_tokens: int) -> "PairScorer":
        """Load a validator onto every visible device.

        Args:
            threads: batches computed at once on a CPU.
            batch_tokens: token budget of a batch on a CPU; GPUs get 32 times as many.

        Returns:
            A scorer in evaluation mode that gives raw logits.

        Raises:
            ModelError: there is no such model, it cannot be loaded, or it is no cross-encoder with
                one output.
        """
        replicas = [
            models.load_cross_encoder(
                settings.model,
                device=device,
                dtype=models.dtype_of(settings, device),
                max_length=settings.max_length,
                trust_remote_code=settings.trust_remote_code,
            )
            for device in models.visible_devices()
        ]
        return cls(replicas, threads, batch_tokens, settings.model)

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        progress: Progress | None = None,
        note: str = "",
    ) -> NDArray[np.float32]:
        """Score pairs of texts.

        Args:
            pairs: (query, document) texts; cut at the model's maximum length together.
            progress: advanced by pairs, in the stage `validate`.
            note: what progress says they are for.

        Returns:
            Logits, float32, (n,), in the order of the pairs.

        Raises:
            ModelError: a logit is not finite, or a single pair does not fit into memory.
        """
        progress = progress or Silent()
        logits = np.empty(len(pairs), dtype=np.float32)
        batches = self._plan(self._count(pairs), ["\x1f".join(pair) for pair in pairs])
        for computed in self._compute(pairs, batches):
            progress.advance("validate", len(computed.rows), note)
            logits[computed.rows] = computed.values
        return logits

    def _forward(
        self, model: Any, texts: list[tuple[str, str]], reading: dict[str, Any]
    ) -> NDArray[np.float32]:
        scores = self._outputs(model, texts, reading)["scores"]
        logits: NDArray[np.float32] = scores.float().reshape(len(texts)).cpu().numpy()
        if not np.isfinite(logits).all():
            worst = texts[int(np.flatnonzero(~np.isfinite(logits))[0])]
            raise ModelError(
                f"the validator gave a logit that is not finite, for the pair {worst!r:.200}; "
                "try dtype = 'float32' in [mining.validation]"
            )
        return logits


def validate(
    survivors: pl.DataFrame,
    positives: pl.DataFrame,
    wanted: int,
    settings: ValidationSettings,
    score: PairScore,
) -> pl.DataFrame:
    """Ask for verdicts in waves until every query has `wanted` negatives or no survivors left.

    With several known positives a negative must stay below the lowest logit of them, and only
    what reaches the highest is promoted: both errors cost more than leaving a candidate out.

    Args:
        survivors: query_id, doc_id, order, as from `order_survivors`.
        positives: query_id, doc_id of the known positives; they are scored too.
        score: gives the logits of query_id, doc_id rows; told what the pairs are for.

    Returns:
        query_id, doc_id, validator_score, verdict, reason of every survivor that was scored.
    """
    known = pl.Series("logit", score(positives, "known positives"), dtype=pl.Float32)
    reference = (
        positives.select("query_id")
        .with_columns(known)
        .group_by("query_id", maintain_order=True)
        .agg(lowest=pl.min("logit"), highest=pl.max("logit"))
    )
    waves: list[pl.DataFrame] = []
    left, missing = survivors, reference.select("query_id", missing=pl.lit(wanted, pl.Int64))
    while len(wave := _next_wave(left, missing)):
        logits = pl.Series(score(wave, f"wave {len(waves) + 1}"), dtype=pl.Float32)
        wave = wave.with_columns(validator_score=logits)
        waves.append(_decide(wave.join(reference, on="query_id", maintain_order="left"), settings))
        kept = waves[-1].filter(verdict="negative").group_by("query_id").len("kept")
        missing = missing.join(kept, on="query_id", how="left").select(
            "query_id", missing=pl.col("missing") - pl.col("kept").fill_null(0).cast(pl.Int64)
        )
        left = left.join(wave, on=["query_id", "doc_id"], how="anti", maintain_order="left")
    columns = ["query_id", "doc_id", "validator_score", "verdict", "reason"]
    return pl.concat(waves).select(columns) if waves else _nothing()


def _next_wave(left: pl.DataFrame, missing: pl.DataFrame) -> pl.DataFrame:
    """Take of each short query as many survivors as it still needs."""
    short = left.join(
        missing.filter(pl.col("missing") > 0), on="query_id", maintain_order="left"
    ).sort("query_id", "order")
    return short.filter(pl.int_range(pl.len()).over("query_id") < pl.col("missing")).select(
        "query_id", "doc_id"
    )


def _decide(wave: pl.DataFrame, settings: ValidationSettings) -> pl.DataFrame:
    edge = pl.col("lowest") - settings.margin - settings.grey_zone
    negative = pl.col("validator_score") < edge
    grey = pl.col("validator_score") < pl.col("highest") - settings.margin
    verdict = (
        pl.when(negative).then(pl.lit("negative")).when(grey).then(pl.lit("excluded"))
    ).otherwise(pl.lit("promoted"))
    reason = (
        pl.when(negative)
        .then(pl.lit("validator: below the grey zone"))
        .when(grey)
        .then(pl.lit("validator: in the grey zone"))
        .otherwise(pl.lit("validator: as relevant as the known positive"))
    )
    return wave.with_columns(verdict=verdict, reason=reason)


def _nothing() -> pl.DataFrame:
    text = pl.String()
    return pl.DataFrame(
        schema={
            "query_id": text, "doc_id": text, "validator_score": pl.Float32(),
            "verdict": text, "reason": text,
        }
    )  # fmt: skip
