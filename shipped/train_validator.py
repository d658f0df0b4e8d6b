"""`python -m shipped.train_validator --out DIR`: trains, measures and describes the validator.

The recipe is `validator.toml`. This module reads collections and puts the steps in order.
"""

from __future__ import annotations

import argparse
import json
import platform
import sysconfig
import time
import tomllib
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.data import collection
from polymine import models
from polymine.data_contracts.errors import SettingsError
from shipped.validator import ValidatorSettings, save_validator
from shipped.validator import train_validator as fit
from shipped.validator_card import TrainingSet, render_card
from shipped.validator_data import (
    CandidateList,
    Domain,
    ListSettings,
    harvest_docstrings,
    limit,
    mine_lists,
    split_by_topic,
)
from shipped.validator_evaluation import (
    DomainScores,
    Kind,
    add_validator,
    draw_candidates,
    measure,
)

# Parts of paths whose sources are tests or generated, not documentation.
NOT_DOCUMENTATION = ("site-packages", "test", "tests", "idlelib", "lib2to3", "_vendor", "externals")


RECIPE = Path(__file__).with_name("validator.toml")


class DataSettings(BaseModel):
    """One set to learn from or to measure on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="A collection of `benchmarks.data`, or the name of the harvest.")
    kind: Literal["retrieval", "docstrings"] = "retrieval"
    licence: str
    source: str = Field("", description="Whom to cite, for the card.")
    packages: tuple[str, ...] = Field((), description="For docstrings: packages, or `stdlib`.")
    topic: Literal["title", "split"] = Field("title", description="What a split keeps together.")
    held_out: float | tuple[str, ...] = Field(description="Share of topics, or the topics.")
    leave_out: str | None = Field(None, description="Parquet of documents to leave out.")
    leave_out_column: str = "doc_id"
    lists: int = Field(ge=0, description="Training lists.")
    max_documents: int = Field(ge=1, description="Documents kept, in whole topics.")


class EvaluationSettings(BaseModel):
    """How the validator is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int = Field(150, ge=1, description="Queries per set, drawn at random.")
    candidates: int = Field(20, ge=2, description="Hard candidates per query.")
    max_documents: int = Field(2000, ge=1, description="Documents per set, in whole topics.")
    judged: tuple[str, ...] = Field((), description="Sets with complete judgments.")
    judged_candidates: int = Field(50, ge=2, description="Candidates per query of those.")
    max_length: int = Field(256, ge=8, description="Tokens of query and passage together.")
    near_copy: float = Field(0.95, gt=0, le=1, description="Cosine of copies left out.")


class Recipe(BaseModel):
    """Everything `validator.toml` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    licence: str = Field(description="Of the adapter, as an SPDX identifier in lower case.")
    training: ValidatorSettings
    lists: ListSettings
    data: tuple[DataSettings, ...]
    evaluation: EvaluationSettings


class _Terminal:
    """Shows progress as one line per twentieth of the work."""

    def start(self, stage: str, total: int, unit: str) -> None:
        self._total, self._done, self._unit = total, 0, unit
        self._began = time.monotonic()

    def advance(self, stage: str, amount: int, note: str = "") -> None:
        before, self._done = self._done, self._done + amount
        if before * 20 // self._total < self._done * 20 // self._total:
            left = (time.monotonic() - self._began) * (self._total / self._done - 1)
            print(f"{stage}: {self._done}/{self._total} {self._unit}, {left:.0f} s left {note}")

    def finish(self, stage: str) -> None:
        print(f"{stage}: done in {time.monotonic() - self._began:.0f} s")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--out", type=Path, required=True, help="folder of the validator")
    options = parser.parse_args()
    train_validator(read_recipe(options.recipe), options.out)


def train_validator(recipe: Recipe, out: Path) -> None:
    """Train the embedded validator, measure it on held-out queries and write its card."""
    splits = {
        item.name: split_by_topic(load_domain(item), item.held_out, recipe.seed)
        for item in recipe.data
    }
    lists = mine_training_lists(recipe, {name: part for name, (part, _) in splits.items()})
    save_validator(fit(lists, recipe.training, progress=_Terminal()), out)
    drawn = draw_evaluation(recipe, {name: part for name, (_, part) in splits.items()})
    domains = evaluate(recipe, drawn, out)
    (out / "evaluation.json").write_text(
        json.dumps([domain.model_dump() for domain in domains], indent=1) + "\n"
    )
    sets = [
        TrainingSet(
            item.name,
            item.licence,
            item.source,
            sum(one.domain == item.name for one in lists),
            splits[item.name][1].queries.height,
        )
        for item in recipe.data
    ]
    card = render_card(
        recipe.training, recipe.lists, sets, domains, licence=recipe.licence, versions=_versions()
    )
    (out / "README.md").write_text(card, encoding="utf-8")


def mine_training_lists(recipe: Recipe, parts: dict[str, Domain]) -> list[CandidateList]:
    """Mine the lists of every set that is trained on, with the model the adapter will sit on."""
    encoder = models.load_encoder(
        recipe.training.base, device="cpu", dtype="auto", max_length=recipe.lists.max_length
    )
    lists: list[CandidateList] = []
    for item in recipe.data:
        if item.lists:
            part = limit(parts[item.name], item.max_documents, recipe.seed)
            lists += mine_lists(part, encoder, recipe.lists, item.lists, recipe.seed)
            print(f"mine lists: {len(lists)} after {item.name}")
    return lists


def draw_evaluation(
    recipe: Recipe, held_out: dict[str, Domain]
) -> list[tuple[str, Kind, pl.DataFrame]]:
    """Draw hard candidates for held-out, foreign and judged queries: (set, kind, pairs)."""
    settings = recipe.evaluation
    encoder = models.load_encoder(
        recipe.training.base, device="cpu", dtype="auto", max_length=settings.max_length
    )
    draw = partial(draw_candidates, encoder=encoder, queries=settings.queries, seed=recipe.seed)
    drawn: list[tuple[str, Kind, pl.DataFrame]] = []
    for item in recipe.data:
        part = limit(held_out[item.name], settings.max_documents, recipe.seed)
        if part.queries.height:
            pairs = draw(
                part,
                candidates=settings.candidates,
                lexical_share=0.5,
                near_copy=settings.near_copy,
                add_positives=True,
            )
            drawn.append((item.name, "held-out" if item.lists else "other domain", pairs))
    for name in settings.judged:
        item = DataSettings(name=name, licence="", held_out=1.0, lists=0, max_documents=10**6)
        pairs = draw(
            load_domain(item),
            candidates=settings.judged_candidates,
            lexical_share=0.0,
            near_copy=1.01,  # copies are judged here like everything else
            add_positives=False,
        )
        drawn.append((name, "judged", pairs))
    return drawn


def evaluate(
    recipe: Recipe, drawn: list[tuple[str, Kind, pl.DataFrame]], adapter: Path
) -> list[DomainScores]:
    """Measure the adapter, loaded as its users load it, on drawn candidates."""
    validator = models.load_cross_encoder(
        str(adapter), device="cpu", dtype="auto", max_length=recipe.evaluation.max_length
    )
    return [
        measure(name, kind, add_validator(pairs, validator, _Terminal()), recipe.seed)
        for name, kind, pairs in drawn
    ]


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "peft")
    return {"Python": platform.python_version()} | {name: version(name) for name in names}


def read_recipe(config: Path) -> Recipe:
    """Read and check a recipe; SettingsError names the file, the key and what is wrong with it."""
    try:
        return Recipe.model_validate(tomllib.loads(config.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"Recipe {config}: cannot be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise SettingsError(f"Recipe {config}: {error}") from None


def load_domain(item: DataSettings) -> Domain:
    """Load a retrieval set, or harvest docstrings from this Python."""
    if item.kind == "docstrings":
        paths = sysconfig.get_paths()
        folders = [
            Path(paths["stdlib"]) if package == "stdlib" else Path(paths["purelib"]) / package
            for package in item.packages
        ]
        return harvest_docstrings(item.name, folders, skip=NOT_DOCUMENTATION)
    folder = collection(item.name)
    documents = pl.read_parquet(folder / "corpus.parquet")
    judgments = pl.read_parquet(folder / "qrels.parquet").filter(pl.col("relevance") > 0)
    if item.leave_out:
        name, _, file = item.leave_out.partition("/")
        away = pl.read_parquet(collection(name) / file)[item.leave_out_column]
        documents = documents.filter(~pl.col("doc_id").is_in(away.to_list()))
    if item.topic == "split":
        splits = pl.read_parquet(folder / "splits.parquet")
        topics = judgments.join(splits, on="query_id").select("doc_id", pl.col("split"))
        documents = documents.join(topics.unique("doc_id"), on="doc_id").rename({"split": "topic"})
    else:
        documents = documents.with_columns(topic=pl.col("title").fill_null(pl.col("doc_id")))
    return Domain(
        item.name,
        documents.select("doc_id", "text", "title", "topic"),
        pl.read_parquet(folder / "queries.parquet").select("query_id", "text"),
        judgments.select("query_id", "doc_id"),
    )


if __name__ == "__main__":
    main()
