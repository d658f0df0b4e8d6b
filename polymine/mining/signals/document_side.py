"""From the candidate to the query: does this query want it more than other queries do?

A hard negative is often the answer to another question. Then many queries score it higher than
this one does, and its z-score over the queries is low however high its score. The idea is that of
CSLS (Conneau et al. 2018, arXiv 1710.04087) and of margin scoring (Artetxe and Schwenk 2019,
arXiv 1811.01136), with moments instead of nearest neighbours: exact, and no search.
"""

from polymine.mining.signals.pairs import Column, Pairs, rounded


def find(pairs: Pairs) -> dict[str, Column]:
    """Compare each score with those of all queries of the query's language for this document.

    Returns:
        `document_z_*` of dense teachers; null where there are too few queries to compare with.
    """
    return {
        f"document_z_{teacher.name}": rounded(found)
        for teacher in pairs.teachers
        if (found := teacher.standardise_among_queries(pairs.queries, pairs.documents)) is not None
    }
