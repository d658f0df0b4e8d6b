"""What each measure of the language gap is called, what it says, and which way is better."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["high", "low", "neither"]


@dataclass(frozen=True)
class Measure:
    """A measure as a page shows it.

    Args:
        title: its name.
        about: what it says, after `is`.
        better: which end a user wants; `neither` for what only describes.
        shape: `pairs` of languages, `directions` (found, asked) or `languages` one at a time.
    """

    title: str
    about: str
    better: Better
    shape: Literal["pairs", "directions", "languages"]


MEASURES: dict[str, Measure] = {
    "rank-consistency": Measure(
        "rank consistency",
        "how alike two languages order the same texts around the same reference (Spearman): 1 is "
        "the same order, 0 none in common", "high", "pairs",
    ),
    "translation": Measure(
        "cosine of translations", "how near the same text lies in two languages", "neither", "pairs"
    ),
    "random": Measure(
        "cosine by chance", "how near any two texts of the two languages lie", "neither", "pairs"
    ),
    "above-random": Measure(
        "cosine above chance", "the one less the other: what the same meaning adds", "high", "pairs"
    ),
    "human-over-machine": Measure(
        "human over machine", "how much nearer to its source a person's translation lies than a "
        "machine's", "neither", "directions",
    ),
    "compatible": Measure(
        "cosine of compatible texts", "how near two texts of one language lie that go together",
        "neither", "languages",
    ),
    "compatible-random": Measure(
        "the same by chance", "how near others of these texts lie", "neither", "languages"
    ),
    "compatible-above-random": Measure(
        "the same above chance", "the one less the other", "high", "languages"
    ),
    "purity": Measure(
        "neighbours of one language", "the share of a text's nearest texts in its own language",
        "low", "languages",
    ),
    "purity-by-chance": Measure(
        "the same by chance", "the share of its language among all texts", "neither", "languages"
    ),
    "probe": Measure(
        "language told", "how often a linear classifier tells a text's language", "low", "languages"
    ),
    "silhouette-language": Measure(
        "clusters by language", "how well languages are clusters (silhouette, -1 to 1)", "low",
        "languages",
    ),
    "silhouette-meaning": Measure(
        "clusters by meaning", "how well translations of a text are clusters (silhouette)", "high",
        "languages",
    ),
    "xsim": Measure(
        "mining error (xsim)", "how often another text than the translation is found, by margin",
        "low", "directions",
    ),
    "nearest-error": Measure(
        "mining error by cosine", "the same by plain cosine", "low", "directions"
    ),
    "sts": Measure(
        "similarity (STS)", "how well cosines follow people's scores (Spearman)", "high",
        "directions",
    ),
    "pool-map": Measure(
        "MAP in the pool", "the precision over all versions of the answer, as in LAReQA", "high",
        "languages",
    ),
    "pool-ndcg": Measure(
        "nDCG in the pool", "nDCG where documents of all languages are ranked together", "high",
        "languages",
    ),
    "apart-ndcg": Measure(
        "nDCG apart", "nDCG over each language's documents by themselves, averaged", "high",
        "languages",
    ),
    "mix-cost": Measure(
        "cost of the mix", "how much nDCG the pool has less", "low", "languages"
    ),
    "language-ndcg": Measure(
        "nDCG in one's language", "nDCG in the pool if only the asker's language counts", "high",
        "languages",
    ),
    "preference": Measure(
        "own language first (LPR)", "how often the version found first is in the asker's language",
        "neither", "languages",
    ),
    "depth": Measure(
        "depth (Max@R)", "the rank at which the last version of the answer is found", "low",
        "languages",
    ),
    "complete": Measure(
        "all versions found", "how often all versions are among the first", "high", "languages"
    ),
    "peer": Measure(
        "equal ranks (PEER)", "the probability that no language is ranked before another", "high",
        "languages",
    ),
    "found": Measure(
        "found in the pool", "how often the version in that language is among the first", "high",
        "directions",
    ),
    "agreement": Measure(
        "agreement (MRC)", "how alike the pool is ranked by a question in two languages", "high",
        "pairs",
    ),
}  # fmt: skip
