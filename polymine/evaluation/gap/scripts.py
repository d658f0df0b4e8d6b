"""Which script a text is written in, and which one its language is."""

import re
from functools import cache

import polars as pl
from langcodes import Language
from langcodes.tag_parser import LanguageTagError

# ISO 15924 to the scripts' names in regular expressions; of other scripts nothing is known here.
_LETTERS = {
    "Arab": "Arabic", "Armn": "Armenian", "Beng": "Bengali", "Cyrl": "Cyrillic",
    "Deva": "Devanagari", "Ethi": "Ethiopic", "Geor": "Georgian", "Grek": "Greek",
    "Gujr": "Gujarati", "Guru": "Gurmukhi", "Hans": "Han", "Hant": "Han", "Hebr": "Hebrew",
    "Jpan": "Han Hiragana Katakana", "Khmr": "Khmer", "Knda": "Kannada", "Kore": "Hangul Han",
    "Laoo": "Lao", "Latn": "Latin", "Mlym": "Malayalam", "Mymr": "Myanmar", "Sinh": "Sinhala",
    "Taml": "Tamil", "Telu": "Telugu", "Thai": "Thai",
}  # fmt: skip
LEAST = 5  # letters below which a text, as `DNA`, belongs to no script
SHARE = 0.1  # of letters; names in another script make up less than the rest of a sentence


@cache
def script_pattern(code: str) -> str | None:
    """Regular expression of a letter of the language's script.

    Args:
        code: BCP 47, or of FLORES, as `arb_Latn`.

    Returns:
        The pattern, or None where the language or its script is not known.
    """
    try:
        script = Language.get(code).maximize().script
    except LanguageTagError:
        return None
    names = _LETTERS.get(script or "")
    return "[" + "".join(rf"\p{{{name}}}" for name in names.split()) + "]" if names else None


def in_other_script(texts: pl.DataFrame) -> pl.Series:
    """Tell which texts are in another script than their language is.

    Args:
        texts: language, text.

    Returns:
        True where less than a tenth of a text's letters are of its language's script. Texts of few
        letters and languages whose script is not known are taken as they are.
    """
    patterns = {code: script_pattern(code) for code in texts["language"].unique()}
    wrong = pl.lit(False)
    for code, pattern in patterns.items():
        if pattern is not None:
            letters = pl.col("text").str.count_matches(r"\p{L}")
            own = pl.col("text").str.count_matches(re.sub(r"\s", "", pattern))
            strange = (letters >= LEAST) & (own < SHARE * letters)
            wrong = wrong | ((pl.col("language") == code) & strange)
    return texts.select(wrong=wrong.and_(pl.col("text").is_not_null()))["wrong"]
