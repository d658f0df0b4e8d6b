"""What a step's batches are made of and judged by: datasets, loss, and prompts before texts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import AdaptedModel, StepSettings, TrainingSettings
from polymine.training import batches, mixture
from polymine.training.team import ALONE, Team

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from polymine.training.labels import RowFacts

Columns = dict[str, dict[str, str]]  # by dataset and column
logger = logging.getLogger("polymine.training")


@dataclass(frozen=True)
class Objective:
    """All that the library's trainer needs to know of data and loss.

    Args:
        datasets: by name, a batch is of one of them.
        shares: of the batches, in the order of the datasets.
        loss: as the trainer calls it.
        prompts: text before each column's texts.
        tasks: what the features of a column say as their `task`: its language, or what is asked.
        facts: on the rows, where the labels of the datasets are their numbers; None where the loss
            reads the labels as they are.
    """

    datasets: Any
    shares: tuple[float, ...]
    loss: Any
    prompts: Columns
    tasks: Columns
    facts: RowFacts | None = None


def make_objective(
    encoder: SentenceTransformer,
    parts: Mapping[str, pl.DataFrame],
    step: StepSettings,
    training: TrainingSettings,
    device: str,
    untouched: Callable[[], AbstractContextManager[None]] | None = None,
    team: Team = ALONE,
) -> Objective:
    """Make what a step learns from.

    Args:
        encoder: that learns.
        parts: of `batches.split_rows`.
        step: its loss and shares.
        training: prompts, and the target of a chain.
        device: of a guide.
        untouched: lets texts pass through the base alone while it is open; for `base_anchor`.
        team: of the processes that share a batch; `align` is for one alone.

    Returns:
        The objective of the step's kind of loss.

    Raises:
        ModelError: a guide that fails, or a target that does not fit.
    """
    if step.loss.kind == "align":
        return _align(encoder, parts, step, training)
    facts = None
    if step.loss.kind == "mse":
        datasets, loss = _imitate(encoder, parts, step, device, team)
    else:
        from polymine.training.contrastive import BaseAnchor
        from polymine.training.labels import RowFacts
        from polymine.training.losses import build_loss

        facts = RowFacts(parts.values())
        datasets = batches.build_datasets(parts, step)
        weight = step.loss.base_anchor
        anchor = BaseAnchor(weight, untouched) if weight and untouched else None
        spread = _spread(parts, step)
        size = step.schedule.mini_batch
        loss = build_loss(
            encoder, step.loss, size, device=device, anchor=anchor, spread=spread, team=team
        )
    shares = batches.share_parts(parts, step)
    columns = {name: _texts(each.column_names) for name, each in datasets.items()}
    return Objective(
        datasets,
        tuple(shares.values()),
        loss,
        {name: {c: _prompt(training.base, c) for c in each} for name, each in columns.items()},
        {name: _languages(name, each) for name, each in columns.items()},
        facts,
    )


def _spread(parts: Mapping[str, pl.DataFrame], step: StepSettings) -> float | None:
    """How far the scores of a list lie apart, where that is the temperature of the teacher."""
    if step.loss.kind != "list" or step.loss.teacher_temperature is not None:
        return None
    spread = mixture.spread_of(parts.values())
    logger.info(
        "%s: the teacher's temperature is %g, which is how far its scores of a list lie apart",
        step.name, spread,
    )  # fmt: skip
    return spread


def _align(
    chain: SentenceTransformer,
    parts: Mapping[str, pl.DataFrame],
    step: StepSettings,
    training: TrainingSettings,
) -> Objective:
    from polymine.training import alignment

    assert training.target is not None, "checked with the steps"
    shares = alignment.share_tasks(batches.share_parts(parts, step), step.loss.align)
    trusted = training.base.trust_remote_code
    language_model = alignment.load_language_model(chain, training.target.model, trusted)
    loss = alignment.AlignmentLoss(chain, language_model, step.loss.align, step.schedule.mini_batch)
    tasks = {name: name.rpartition(" | ")[2] for name in shares}
    told = {name: alignment.TASKS[task] for name, task in tasks.items()}
    prompts = {
        name: {"anchor": instruction + _prompt(training.base, read)}
        for name, (read, _, instruction) in told.items()
    }
    datasets = alignment.build_datasets(parts, shares, chain)
    named = {name: {"anchor": task} for name, task in tasks.items()}
    return Objective(datasets, tuple(shares.values()), loss, prompts, named)


def _imitate(
    encoder: SentenceTransformer,
    parts: Mapping[str, pl.DataFrame],
    step: StepSettings,
    device: str,
    team: Team,
) -> tuple[Any, Any]:
    """Move both texts of a row to the guide's vector of the document (arXiv 2004.09813)."""
    import torch
    from datasets import Dataset, DatasetDict

    from polymine.training.distillation import ImitationLoss
    from polymine.training.losses import load_guide

    told = step.loss.guide
    assert told is not None, "checked by the settings"
    guide, call = load_guide(told, device)
    prompt = call.prompt_for("documents")
    shaped = {}
    for name, part in parts.items():
        read = part["positive"].to_list()
        with models.told(f"step {step.name}: the guide {told.model} failed on the documents"):
            own = guide.encode(read[team.read(len(read))], prompt=prompt, show_progress_bar=False)
        [vectors] = team.whole([torch.from_numpy(own)], len(read))
        texts = {side: part[side].to_list() for side in ("anchor", "positive")}
        shaped[name] = Dataset.from_dict({**texts, "label": vectors.numpy()})
    loss = ImitationLoss(encoder)
    loss.team = team
    return DatasetDict(shaped), loss


def check_guide(step: StepSettings, encoder: SentenceTransformer, base: str) -> None:
    """Refuse, before any work, a guide whose vectors are to be learned and cannot be.

    Args:
        step: names the guide.
        encoder: that is to learn; `base` is its name in errors.

    Raises:
        ModelError: its vectors are longer or shorter than the encoder's.
    """
    from polymine.training.losses import load_guide

    told = step.loss.guide
    if step.loss.kind != "mse" or told is None:
        return
    guide, _ = load_guide(told, "cpu")
    wanted, given = encoder.get_embedding_dimension(), guide.get_embedding_dimension()
    if wanted != given:
        raise ModelError(
            f"step {step.name}: the guide {told.model} gives vectors of {given} components, and "
            f"{base} learns ones of {wanted}; loss `mse` needs as many"
        )


def _texts(columns: Sequence[str]) -> list[str]:
    return [column for column in columns if column != "label"]


def _prompt(base: AdaptedModel, column: str) -> str:
    return base.prompt_for("queries" if column == "anchor" else "documents")


def _languages(part: str, columns: Sequence[str]) -> dict[str, str]:
    """Name each column's language, which the collator puts on the features as their task."""
    document, query = batches.languages_of(part)
    return {c: query if c == "anchor" else document for c in columns}
