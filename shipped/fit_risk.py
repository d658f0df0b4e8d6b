"""`python -m shipped.fit_risk --out DIR`: fits the shipped weights of the risk.

The recipe is `risk.toml`. This module reads collections and draws; `risk_weights` fits.
"""

import argparse
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.data import collection
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.risk import RiskModel
from polymine.data_contracts.settings import TeacherSettings
from polymine.mining.evidence import gather_evidence
from polymine.mining.ingestion import Ingested, ingest
from polymine.mining.known import Ids, Known
from polymine.mining.ranking import rank
from polymine.mining.risk_weights import FILE, Shipped
from polymine.mining.teachers import Teacher
from shipped.opening import open_teacher
from shipped.risk_weights import Judged, fit_weights, prove

RECIPE = Path(__file__).with_name("risk.toml")


class ForeignSettings(BaseModel):
    """Collections in several languages that become one corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    translations: str = Field(description="Parquet: doc_id and the group_id it shares.")
    leave_out: str | None = Field(None, description="Parquet of documents to leave out.")
    leave_out_column: str = "doc_id"


class Recipe(BaseModel):
    """Everything `risk.toml` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: int = Field(ge=1)
    seeds: int = Field(ge=1)
    queries: int = Field(ge=1)
    collections: tuple[str, ...] = Field(min_length=2)
    foreign: tuple[ForeignSettings, ...] = ()
    teachers: tuple[TeacherSettings, ...] = Field(min_length=1)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--out", type=Path, required=True, help=f"folder that {FILE} goes to")
    options = parser.parse_args()
    fit_risk(read_recipe(options.recipe), options.out)


def fit_risk(recipe: Recipe, out: Path) -> None:
    """Fit the weights for every kind of teachers, prove them, and write them as JSON."""
    judged = {name: _draw_judged(name, recipe) for name in recipe.collections}
    foreign = [_draw_foreign(pool, recipe) for pool in recipe.foreign]
    teachers = [(teacher.name, teacher.kind) for teacher in recipe.teachers]
    kinds = sorted({kind for _, kind in teachers})
    variants: list[RiskModel] = []
    without: dict[str, RiskModel] = {}
    for some in ([*kinds], *([kind] for kind in kinds if len(kinds) > 1)):
        used = [teacher for teacher in teachers if teacher[1] in some]
        model = fit_weights(judged, foreign, used)
        left_out, proofs, spread = prove(judged, foreign, used)
        variants.append(model.model_copy(update={"proofs": proofs, "rate_spread": spread}))
        without |= {
            f"{name}/{'+'.join(some)}": part.model_copy(update={"rate_spread": spread})
            for name, part in left_out.items()
        }
        _show(variants[-1])
    models = tuple(teacher.model or "BM25" for teacher in recipe.teachers)
    shipped = Shipped(models=models, variants=tuple(variants), without=without)
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(shipped.model_dump(mode="json"), indent=1)
    (out / FILE).write_text(text + "\n", encoding="utf-8")
    print(f"Written to {out / FILE}")


def read_recipe(config: Path) -> Recipe:
    """Read and check the recipe; raises SettingsError naming what is wrong."""
    try:
        return Recipe.model_validate(tomllib.loads(config.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{config}: {error}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SettingsError(f"{config}: " + "; ".join(lines)) from error


def _draw_judged(name: str, recipe: Recipe) -> list[Judged]:
    """Reveal one relevant document per query, as often as there are seeds."""
    print(f"{name}: {recipe.seeds} draws")
    documents, queries, judgments = _read(name)
    relevant = judgments.filter(pl.col("relevance") > 0).sort("query_id", "doc_id")
    several = relevant.filter(pl.len().over("query_id") > 1)
    truth = several.select("query_id", "doc_id", truth=pl.lit(value=True))
    draws, opened = [], None
    for seed in range(recipe.seeds):
        revealed = _reveal(several, seed, recipe.queries)
        clean = ingest(documents, queries, revealed)
        opened = opened or _open(clean, recipe)
        draws.append(_gather(name, clean, truth, opened, recipe))
    return draws


def _draw_foreign(pool: ForeignSettings, recipe: Recipe) -> Judged:
    """Pool collections of several languages; reveal the passage in the query's own."""
    name = "+".join(pool.names)
    print(f"{name}: one draw")
    read = [_read(part) for part in pool.names]
    documents, queries, judgments = (pl.concat(tables) for tables in zip(*read, strict=True))
    if pool.leave_out:
        drop = _side_table(pool.leave_out)[pool.leave_out_column]
        documents = documents.filter(~pl.col("doc_id").is_in(drop.implode()))
    groups = _side_table(pool.translations).select("doc_id", "group_id")
    originals = groups.select(doc_id="group_id", group_id="group_id").unique()
    groups = pl.concat([groups, originals]).join(documents, on="doc_id", how="semi")
    linked = judgments.join(groups, on="doc_id").filter(pl.col("relevance") > 0)
    translated = linked.join(groups.rename({"doc_id": "other"}), on="group_id")
    translated = translated.filter(pl.col("doc_id") != pl.col("other"))
    asked = linked.join(translated, on="query_id", how="semi").drop("group_id")
    revealed = _reveal(asked, 0, recipe.queries)
    truth = translated.select("query_id", doc_id="other", truth=pl.lit(value=True)).unique()
    queries = queries.join(revealed, on="query_id", how="semi")
    clean = ingest(documents, queries, revealed)
    return _gather(name, clean, truth, _open(clean, recipe), recipe)


def _reveal(relevant: pl.DataFrame, seed: int, most: int) -> pl.DataFrame:
    """One relevant document of each of at most `most` queries, by a seeded draw."""
    random = np.random.default_rng(seed)
    shuffled = relevant.sort("query_id", "doc_id").with_columns(
        random_key=random.random(len(relevant))
    )
    one = shuffled.sort("query_id", "random_key").unique(
        "query_id", keep="first", maintain_order=True
    )
    if len(one) > most:
        one = one[np.sort(random.choice(len(one), most, replace=False))]
    return one.select("query_id", "doc_id", "relevance")


def _open(clean: Ingested, recipe: Recipe) -> list[Teacher]:
    return [open_teacher(teacher, clean) for teacher in recipe.teachers]


def _gather(
    name: str, clean: Ingested, truth: pl.DataFrame, teachers: Sequence[Teacher], recipe: Recipe
) -> Judged:
    ids = Ids.from_tables(clean.queries, clean.documents)
    known = Known.from_tables(clean.closure, ids, clean.labels)
    rows = np.unique(known.positives[0])
    rankings = [rank(teacher, rows, recipe.depth) for teacher in teachers]
    evidence = gather_evidence(teachers, rankings, known, ids)
    kept = dict(clean.copies.rows())
    truth = truth.with_columns(pl.col("doc_id").replace(kept)).unique()
    languages = clean.queries.select("query_id", "language")
    judged = evidence.join(truth, on=["query_id", "doc_id"], how="left", maintain_order="left")
    return Judged(
        name,
        judged.with_columns(pl.col("truth").fill_null(value=False)).join(
            languages, on="query_id", how="left", maintain_order="left"
        ),
    )


def _side_table(path: str) -> pl.DataFrame:
    """A table that the recipe names as COLLECTION/FILE."""
    name, _, file = path.partition("/")
    return pl.read_parquet(collection(name) / file)


def _read(name: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Read corpus, queries and judgments; a title stands before its text, as in mining."""
    folder = collection(name)
    title = pl.col("title").cast(pl.String).fill_null("")
    documents = pl.read_parquet(folder / "corpus.parquet").select(
        "doc_id", (title + " " + pl.col("text")).str.strip_chars().alias("text"), "language"
    )
    queries = pl.read_parquet(folder / "queries.parquet").select("query_id", "text", "language")
    judgments = pl.read_parquet(folder / "qrels.parquet")
    return documents, queries, judgments.select("query_id", "doc_id", "relevance")


def _show(model: RiskModel) -> None:
    """Print the weights, and what they expected of each collection left out."""
    print(f"\n{' + '.join(model.kinds)}")
    for pair, linear in model.full.items():
        named = zip(linear.features, linear.weights, strict=True)
        print(f"  {pair}: " + ", ".join(f"{name} {weight:.3f}" for name, weight in named))
    for proof in model.proofs:
        print(
            f"  without {proof.collection}: {proof.expected:.1f} relevant candidates per query "
            f"expected, {proof.true:.1f} true"
        )
    print(f"  deviation of ln(expected rate / true rate): {model.rate_spread:.2f}")


if __name__ == "__main__":
    main()
