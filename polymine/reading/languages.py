"""Says which language a text is in, where nobody does (langid.py, Lui & Baldwin, ACL 2012)."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import polars as pl

from polymine.data_contracts.errors import SettingsError

DETECT = "detect"  # stands for a language that is to be found
UNSURE = "und"
SURE = 0.7  # probability below which a language is not said; see docs/LOG.md
_PACKAGE = "py3langid"


def detector() -> str:
    """Name what detects, with its version, on which the languages depend.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        return f"{_PACKAGE} {version(_PACKAGE)} {SURE}"
    except PackageNotFoundError:
        raise SettingsError(
            f"`language = \"{DETECT}\"` needs {_PACKAGE}: pip install 'polymine[languages]', or "
            "name the language of texts that name none, as `en`"
        ) from None


def detect_languages(table: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Find the languages of texts that are to be detected.

    Args:
        table: text, and language, which is DETECT where none is named.

    Returns:
        The table with codes in their place, `und` where none has a probability of SURE, or the
        text is none; and how often each was found, the commonest first.

    Raises:
        SettingsError: what detects is not installed.
    """
    if "language" not in table.columns or DETECT not in table["language"]:
        return table, {}
    detector()
    classify = _classify()
    to_find = pl.col("language") == DETECT
    texts = table.filter(to_find)["text"].unique()
    codes = [_code(*classify(text)) if text and text.strip() else UNSURE for text in texts]
    known = pl.DataFrame({"text": texts, "found": pl.Series(codes, dtype=pl.String)})
    joined = table.join(known, on="text", how="left", nulls_equal=True, maintain_order="left")
    filled = joined.with_columns(
        language=pl.when(to_find).then("found").otherwise("language")
    ).drop("found")
    counts = joined.filter(to_find)["found"].value_counts()
    return filled, dict(counts.sort("count", "found", descending=[True, False]).rows())


def _code(language: str, probability: float) -> str:
    return language if probability >= SURE else UNSURE


@cache
def _classify() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True).classify
