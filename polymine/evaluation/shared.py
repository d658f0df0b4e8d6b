"""How much wider intervals are where questions share documents and are yet drawn one by one.

Where nearly all questions hang together by shared documents, as in judged collections of few
subjects, there are no independent clusters to draw. Then each question is drawn by itself, and what
a document adds to all that it answers goes unseen. Its variance is found by moments: two questions'
gains have in common what their shared documents say, in proportion to the share of documents.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Numbers = NDArray[np.float64]
MOST = 2_000  # questions that are looked at: their table of pairs takes 32 MB


def widening(
    gains: Numbers,
    counts: Numbers,
    members: NDArray[np.bool_],
    answers: Sequence[Sequence[int]] | None,
    seed: int = 0,
) -> Numbers | float:
    """Say how many times as wide intervals of means are as questions drawn one by one make them.

    With K the documents that two questions have in common, |A and B| / (|A| |B|), and O the same
    without its diagonal, gains e around their mean have the variance d K + q I. Both are solved for
    from e'Oe and e'e, whose expectations centring changes.

    Args:
        gains: summed per question, direction and metric, (questions, directions, metrics).
        counts: queries per question and direction, (questions, directions).
        members: which directions each mean is over, (means, directions).
        answers: documents of each question; empty for one that shares none; None if none does.
        seed: of the questions that are looked at, where there are very many.

    Returns:
        At least 1, (means, metrics).
    """
    if answers is None:
        return 1.0
    share = members / np.maximum(members.sum(1, keepdims=True), 1) / np.maximum(counts.sum(0), 1)
    centred = gains - counts[:, :, None] * (gains.sum(0) / np.maximum(counts.sum(0), 1)[:, None])
    # What each question adds to each mean; nothing where it is not asked.
    parts = np.einsum("kd,qdm->qkm", share, centred)
    asked = counts @ members.T.astype(np.float64) > 0
    sharing = np.array([len(each) > 0 for each in answers])
    factors = np.ones(parts.shape[1:])
    for mean in range(parts.shape[1]):
        count = int(asked[:, mean].sum())
        seen = (parts[asked[:, mean], mean] ** 2).sum(0) * count / max(count - 1, 1)
        rows = np.flatnonzero(asked[:, mean] & sharing)
        scale = 1.0
        if len(rows) > MOST:  # pairs that share documents grow with the square of the questions
            scale = len(rows) / MOST
            rows = np.sort(np.random.default_rng(seed).choice(rows, MOST, replace=False))
        unseen = _unseen(parts[rows, mean], [answers[row] for row in rows.tolist()]) * scale**2
        factors[mean] = np.sqrt(1 + unseen / np.where(seen > 0, seen, np.inf))
    return factors


def _unseen(parts: Numbers, answers: Sequence[Sequence[int]]) -> Numbers:
    """Variance of the sum of parts (questions, metrics) that lies between different questions."""
    n = len(parts)
    common = _in_common(answers) if n > 2 else np.zeros((n, n))
    other = common - np.diag(np.diag(common))
    if not other.any():
        return np.zeros(parts.shape[1])
    parts = parts - parts.mean(0)
    row, whole = common.mean(1), common.mean()
    centred = common - row[:, None] - row[None, :] + whole
    equations = np.array(
        [[float((other * centred).sum()), -other.sum() / n],
         [float(np.trace(common)) - n * whole, n - 1.0]]
    )  # fmt: skip
    pairs = np.einsum("im,ij,jm->m", parts, other, parts, optimize=True)
    found = np.linalg.solve(equations, np.stack([pairs, (parts**2).sum(0)]))
    unseen: Numbers = np.maximum(found[0], 0) * other.sum()
    return unseen


def _in_common(answers: Sequence[Sequence[int]]) -> Numbers:
    """K of questions that share documents."""
    owners = np.repeat(np.arange(len(answers)), [len(each) for each in answers])
    documents = np.unique(np.concatenate(answers), return_inverse=True)[1]
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each in answers])
    table = csr_array((weights, (owners, documents)), shape=(len(answers), documents.max() + 1))
    return np.asarray((table @ table.T).todense())
