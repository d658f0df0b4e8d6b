"""Likelihoods of linear log-odds, and their maximum a posteriori.

All sums are made without BLAS, in the order of the rows: the same rows give the same bits on any
number of threads.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from polymine.data_contracts.risk import Linear
from polymine.mining.risk import Array, sigmoid

DECIMALS = 6  # of fitted numbers, so that the last bits of an optimiser do not show
Mask = NDArray[np.bool_]
Objective = Callable[[Array], tuple[float, Array]]  # of (intercept, weights): value, gradient


def solve(start: Linear, terms: Sequence[Objective], monotone: int | None = None) -> Linear:
    """Minimise the terms plus the distance from `start` in units of its spreads (MAP).

    Args:
        start: the prior: means, and normal deviations as `spreads`.
        terms: negative log-likelihoods over (intercept, weights), with their gradients.
        monotone: so many weights, the first ones, are at least 0: more of such evidence never
            lowers the risk. All if None.

    Returns:
        The mode with six decimals; its spreads are how sure the data leave each number.
    """
    from scipy.optimize import minimize

    mean = np.array([start.intercept, *start.weights])
    spread = np.array([start.intercept_spread, *start.spreads])

    def objective(theta: Array) -> tuple[float, Array]:
        away = (theta - mean) / spread
        value, gradient = 0.5 * float(np.sum(away * away)), away / spread
        for term in terms:
            more, slope = term(theta)
            value, gradient = value + more, gradient + slope
        return value, gradient

    rising = len(start.weights) if monotone is None else monotone
    free = (None, None)
    bounds = [free, *[(0.0, None)] * rising, *[free] * (len(start.weights) - rising)]
    found = minimize(
        objective, mean, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500}
    )
    theta = found.x
    sure = _spreads(objective, theta)
    return start.model_copy(
        update={
            "intercept": round(float(theta[0]), DECIMALS),
            "weights": tuple(round(float(value), DECIMALS) for value in theta[1:]),
            "intercept_spread": round(float(sure[0]), DECIMALS),
            "spreads": tuple(round(float(value), DECIMALS) for value in sure[1:]),
        }
    )


def _spreads(objective: Objective, theta: Array) -> Array:
    """Posterior deviations (Laplace), from differences of the gradient."""
    step = 1e-4
    rows = [
        (objective(theta + step * unit)[1] - objective(theta - step * unit)[1]) / (2 * step)
        for unit in np.eye(len(theta))
    ]
    hessian = np.array(rows)
    hessian = (hessian + hessian.T) / 2
    values, vectors = np.linalg.eigh(hessian)
    inverse = np.sum(vectors**2 / np.maximum(values, 1e-9), axis=1)
    return np.asarray(np.sqrt(inverse))


def positive_unlabelled(matrix: Array, known: Mask) -> Objective:
    """Likelihood of where the known positives lie among all candidates, by their risk.

    The case-control form of Elkan and Noto (2008): each positive is drawn with a probability
    proportional to the risk.

    Args:
        matrix: centred features, (n, d).
        known: which candidates are known positives, (n,).

    Returns:
        A term for `solve`.
    """
    count = float(known.sum())

    def objective(theta: Array) -> tuple[float, Array]:
        odds = theta[0] + np.einsum("ij,j->i", matrix, theta[1:])
        logs = -np.logaddexp(0.0, -odds)
        top = float(logs.max())
        shares = np.exp(logs - top)
        total = float(np.sum(shares))
        value = count * (np.log(total) + top) - float(np.sum(logs[known]))
        slope = (count * shares / total - known) * sigmoid(-odds)
        return value, np.array([np.sum(slope), *np.einsum("ij,i->j", matrix, slope)])

    return objective


def labelled_pairs(matrix: Array, labels: Array, shares: Array | float = 1.0) -> Objective:
    """Likelihood of labels under a logistic model.

    Args:
        matrix: centred features, (n, d).
        labels: 0 or 1, (n,).
        shares: how often each counts, (n,) or one for all.

    Returns:
        A term for `solve`.
    """

    def objective(theta: Array) -> tuple[float, Array]:
        odds = theta[0] + np.einsum("ij,j->i", matrix, theta[1:])
        value = float(np.sum(shares * (np.logaddexp(0.0, odds) - labels * odds)))
        slope = shares * (sigmoid(odds) - labels)
        return value, np.array([np.sum(slope), *np.einsum("ij,i->j", matrix, slope)])

    return objective
