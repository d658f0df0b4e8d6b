"""Which teacher's scores decide, by what each finds of the known positives for a query."""

import numpy as np
import pytest

from polymine.mining.recall import ENOUGH, choose_primary

QUERIES = 100


def found(*counts: int, queries: int = QUERIES) -> np.ndarray:
    """Teachers that find the positive of the first so many queries, and of no other."""
    return (np.arange(queries) < np.array(counts)[:, None]).astype(float)


@pytest.mark.parametrize(
    ("counts", "lexical", "chosen"),
    [
        ((6, 88), "dd", 1),  # it does not know the language
        ((88, 88), "dd", 0),  # a tie
        ((88, 92), "dd", 0),  # four questions on one passage would do that
        ((85, 98), "dd", 1),
        ((50, 92, 94), "ddd", 1),  # the best one is not surely better than the second
        ((75, 98), "dl", 0),  # a lexical one has to lead by far
        ((60, 98), "dl", 1),
        ((6, 60, 75), "ddl", 1),
        ((85, 98), "ld", 1),  # one that comes first has no handicap, and none is one
        ((98, 85), "ld", 0),
        ((0, 0), "dd", 0),
    ],
)
def test_the_first_that_none_leads_far_enough(
    counts: tuple[int, ...], lexical: str, chosen: int
) -> None:
    assert choose_primary(found(*counts), [kind == "l" for kind in lexical]) == chosen


def test_few_queries_tell_nothing() -> None:
    for queries, chosen in ((0, 0), (ENOUGH - 1, 0), (ENOUGH, 1)):
        assert choose_primary(found(0, queries, queries=queries), [False, False]) == chosen


def test_the_same_lead_is_surer_of_more_queries() -> None:
    rng = np.random.default_rng(0)
    one, two = (rng.random((2, 4000)) < [[0.80], [0.85]]).astype(float)
    assert choose_primary(np.stack([one, two])[:, :100], [False, False]) == 0
    assert choose_primary(np.stack([one, two]), [False, False]) == 1
