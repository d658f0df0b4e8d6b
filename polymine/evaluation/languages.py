"""Codes of one language: ISO 639-1 here, FLORES-200 on the hub, ISO 639-3 and a script in MTEB.

Only what is unambiguous has a two-letter code: Arabic is Modern Standard Arabic, Chinese is
simplified. Everything else (`arb_Latn`, `acm_Arab`, `zho_Hant`) is named by its FLORES code.
"""

from langcodes import Language
from langcodes.tag_parser import LanguageTagError

# FLORES names a standard variety or script where ISO 639-1 has the language as a whole.
_STANDARD = {
    "ar": "arb_Arab", "az": "azj_Latn", "fa": "pes_Arab", "ko": "kor_Hang", "lv": "lvs_Latn",
    "mg": "plt_Latn", "mn": "khk_Cyrl", "ms": "zsm_Latn", "ne": "npi_Deva", "om": "gaz_Latn",
    "or": "ory_Orya", "ps": "pbt_Arab", "sq": "als_Latn", "sw": "swh_Latn", "tl": "tgl_Latn",
    "uz": "uzn_Latn", "yi": "ydd_Hebr",
}  # fmt: skip
_SHORT = {flores[:3]: short for short, flores in _STANDARD.items()} | {"cmn": "zh"}


def flores_code(code: str) -> str:
    """Turn a two-letter code into that of FLORES.

    Args:
        code: ISO 639-1; what has not two letters stays as it is.

    Returns:
        Language and the script it is mostly written in, as `rus_Cyrl`.

    Raises:
        LookupError: there is no such two-letter code.
    """
    if len(code) != 2:
        return code
    return _STANDARD.get(code) or f"{Language.get(code).to_alpha3()}_{_script(code)}"


def short_code(long: str) -> str:
    """Turn a long code into a two-letter one.

    Args:
        long: as `eng_Latn`, `eng-Latn` or `eng`.

    Returns:
        ISO 639-1. A language without such a code, or in another script than it is mostly written
        in, keeps its long code, spelt as in FLORES: two subsets of a benchmark that differ in
        script are never taken for one.
    """
    flores = long.replace("-", "_")
    name, _, script = flores.partition("_")
    try:
        short = _SHORT.get(name) or str(Language.get(name))
    except LanguageTagError:
        return flores
    if len(short) != 2 or script not in ("", _script(short)):
        return flores
    return short


def _script(code: str) -> str:
    """The script that a language is mostly written in."""
    standard = _STANDARD.get(code)
    return standard[4:] if standard else str(Language.get(code).maximize().script)
