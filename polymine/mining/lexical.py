"""Words for BM25 in any language, and the index over them.

Scripts that put no spaces between words (Han, kana, Hangul syllables, Thai, Lao, Khmer, Burmese)
become overlapping character pairs, as Lucene's CJK analyser does; everything else becomes
lower-cased words. No stemming and no stop words: both need to know the language.
"""

import logging
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from polymine.data_contracts.errors import InputError

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff"
)
_RUNS = re.compile(rf"[{UNSPACED}]+|[^\W{UNSPACED}]+")
_UNSPACED = re.compile(f"[{UNSPACED}]")


def analyse(text: str) -> list[str]:
    """Split a text into the terms that BM25 counts.

    Returns:
        Case-folded NFKC words in the order of the text, repeated ones too; in scripts without
        spaces between words, each two neighbouring characters.
    """
    terms: list[str] = []
    for run in _RUNS.findall(unicodedata.normalize("NFKC", text).casefold()):
        if _UNSPACED.match(run):
            terms.extend(run[at : at + 2] for at in range(max(len(run) - 1, 1)))
        else:
            terms.append(run)
    return terms


def build_index(texts: Sequence[str], k1: float, b: float) -> Any:
    """Index documents for BM25.

    Args:
        texts: of the documents; their positions are the index's row numbers.
        k1, b: saturation of term frequency, and weight of the document's length, from 0 to 1.

    Returns:
        An index of bm25s with Lucene's variant.

    Raises:
        InputError: not one of the texts holds a word.
    """
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells of its steps on the console

    terms = [analyse(text) for text in texts]
    if not any(terms):
        raise InputError(
            f"BM25 finds no word in any of the {len(texts)} documents, such as "
            f"{texts[0][:40]!r}: leave the lexical teacher out"
        )
    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    # The library numbers words in the order of a set, which is another one in every process.
    numbers = {word: number for number, word in enumerate(sorted(set().union(*terms)))}
    rows = [[numbers[word] for word in words] for words in terms]
    index.index((rows, numbers), show_progress=False)
    return index
