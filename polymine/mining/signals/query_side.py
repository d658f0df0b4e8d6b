"""From the query to the candidate: every teacher's score, and how far it stands out.

A z-score is taken over the documents of the candidate's own language. Over the whole corpus, a
model that prefers its query's language would make every translation look irrelevant.
"""

from polymine.mining.signals.pairs import Column, Pairs, rounded


def find(pairs: Pairs) -> dict[str, Column]:
    """Score each candidate for its query, and compare with the documents of its language.

    Returns:
        `score_*` (float32) and `z_*` of every teacher.
    """
    columns: dict[str, Column] = {}
    for teacher in pairs.teachers:
        scores = teacher.score(pairs.queries, pairs.documents)
        columns[f"score_{teacher.name}"] = scores
        standardised = teacher.standardise(pairs.queries, pairs.documents, scores)
        columns[f"z_{teacher.name}"] = rounded(standardised)
    return columns
