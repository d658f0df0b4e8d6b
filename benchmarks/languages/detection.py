"""How often a text's language is found, not said, or wrong.

`python -m benchmarks.languages.detection`, with `pip install 'polymine[languages]'`.

Texts of parallel and translated sets, whose languages are known; 500 of each language at most.
"""

import time

import polars as pl

from benchmarks.data import collection
from polymine.reading.languages import DETECT, UNSURE, detect_languages

MOST = 500
CODES = ["ar", "de", "en", "es", "fa", "fr", "hi", "ru", "tr", "zh"]


def texts_of(name: str) -> dict[str, pl.DataFrame]:
    """Texts of a set with their language, by the kind of text."""
    folder = collection(name)
    if (folder / "pairs.parquet").is_file():
        pairs = pl.read_parquet(folder / "pairs.parquet")
        sides = [pairs.select(text=f"text_{side}", language=f"lang_{side}") for side in "ab"]
        return {"sentences": pl.concat(sides).unique(maintain_order=True)}
    return {
        table: pl.read_parquet(folder / f"{table}.parquet").select("text", "language")
        for table in ("corpus", "queries")
    }


def measure(texts: pl.DataFrame) -> str:
    """Say how many are found, and what share is wrong, by language."""
    known = texts.filter(pl.col("language").is_in(CODES)).sort("language", maintain_order=True)
    parts = known.partition_by("language", maintain_order=True)
    drawn = pl.concat(part.sample(min(MOST, part.height), seed=0) for part in parts)
    began = time.monotonic()
    found, _ = detect_languages(drawn.with_columns(language=pl.lit(DETECT)))
    speed = drawn.height / (time.monotonic() - began)
    judged = drawn.select("language").with_columns(
        unsure=found["language"] == UNSURE, right=found["language"] == drawn["language"]
    ).with_columns(wrong=~pl.col("right") & ~pl.col("unsure"))  # fmt: skip
    each = judged.group_by("language").agg(pl.col("unsure", "wrong").mean()).sort("language")
    told = ", ".join("{} {:.3f}/{:.3f}".format(*row) for row in each.rows())
    unsure, wrong = judged.select(pl.col("unsure", "wrong").mean()).row(0)
    return (
        f"{drawn.height:,} texts, {speed:,.0f} a second: not said {unsure:.4f}, wrong {wrong:.4f}; "
        f"by language not said/wrong {told}"
    )


def main() -> None:
    """Print a line per set and kind of text."""
    for name in ("xquad", "ntrex", "tatoeba"):
        for kind, texts in texts_of(name).items():
            print(f"{name} {kind}: {measure(texts)}")


if __name__ == "__main__":
    main()
