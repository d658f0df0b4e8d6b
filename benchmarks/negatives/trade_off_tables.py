"""Results of `benchmarks.negatives.false_negatives` as tables: collections down, methods across."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.processes import table

EXPECTED = (0.01, 0.02, 0.05, 0.1)  # rates of false negatives at which the risk is checked
USUAL = {
    "naive": None,
    "shifted": 10,
    "absolute": 0.7,
    "margin": 0.05,
    "percent": 0.95,
    "sentence-transformers": 0.05,
}  # what each method is commonly run with


def show(results: dict[str, Any], goal: Sequence[str]) -> str:
    """Lay out all tables; `goal` are the collections whose ratios are averaged."""
    collections = results["collections"]
    reference = results["settings"]["reference"]
    parts = [
        ("Collections", _sizes(collections)),
        ("At each method's usual value: false negatives, hardness, yield", _usual(collections)),
        (f"False negatives at the hardness of {reference}, times its own", _clean(results, goal)),
    ]
    for title, measure in (
        ("LSA cosine there", "lsa"),
        ("LSA cosine there, false negatives left out", "lsa_true"),
        ("The untouched student's loss there", "loss"),
        ("Known hard negatives kept there, of those there is room for", "instructive_kept"),
        ("Known hard negatives there, of all chosen", "instructive_share"),
    ):
        rows = _at_reference(collections, measure)
        if len(rows) > 1:
            parts.append((title, rows))
    parts.append(
        ("Risk: true rate of false negatives where it expects ...", _calibration(collections))
    )
    candidate = results["settings"]["candidate"]
    title = f"Points cleaner than {candidate} at equal hardness, largest gap"
    parts.append((title, _cleaner(collections)))
    return "\n\n".join(f"{title}\n\n{table(rows)}" for title, rows in parts)


def mean_ratio(collections: dict[str, Any], method: str, goal: Sequence[str]) -> float | None:
    """Mean ratio of a method's false negatives to the reference's; None if one is missing."""
    ratios = [
        collections[name]["at_reference"].get(method, {}).get("ratio")
        for name in goal
        if name in collections
    ]
    if len(ratios) < len(goal) or any(ratio is None for ratio in ratios):
        return None
    return float(np.mean(ratios))


def _sizes(collections: dict[str, Any]) -> list[list[str]]:
    head = ["collection", "documents", "queries", "hidden", "known hard", "hardness", "seconds"]
    rows = [
        [
            name,
            f"{found['documents']:,}",
            str(found["queries"]),
            f"{found['hidden_per_query']:.1f}",
            f"{found['instructive_per_query']:.1f}",
            _number(found["reference"]["mean"]["hardness"]),
            f"{found['seconds']:.0f}",
        ]
        for name, found in collections.items()
    ]
    return [head, *rows]


def _usual(collections: dict[str, Any]) -> list[list[str]]:
    def cell(found: dict[str, Any], method: str) -> str:
        points = found["curves"][method]
        point = next(point for point in points if point["value"] == USUAL[method])
        measured = (point.get(name) for name in ("false_negatives", "hardness", "yield"))
        return " ".join(_number(number) for number in measured)

    methods = [name for name in _methods(collections) if name in USUAL]
    heads = [f"{name} {'' if USUAL[name] is None else USUAL[name]}".strip() for name in methods]
    return _rows(collections, methods, cell, heads)


def _clean(results: dict[str, Any], goal: Sequence[str]) -> list[list[str]]:
    collections, seeds = results["collections"], len(results["settings"]["seeds"])

    def cell(found: dict[str, Any], method: str) -> str:
        at = found["at_reference"].get(method)
        if at is None:
            return "not measured"
        if not at["seeds"]:
            return _reached(at["reached"])
        rate = _number(at["mean"]["false_negatives"])
        text = f"{rate} ±{_number(at['deviation']['false_negatives'])}"
        text += f" x{_number(at['ratio'])}"
        return text if at["seeds"] == seeds else f"{text} ({at['seeds']} of {seeds} seeds)"

    methods = _methods(collections)
    rows = _rows(collections, methods, cell)
    means = [_number(mean_ratio(collections, method, goal)) for method in methods]
    return [*rows, [f"mean ratio of {', '.join(goal)}", *means]]


def _at_reference(collections: dict[str, Any], measure: str) -> list[list[str]]:
    def cell(found: dict[str, Any], method: str) -> str:
        return _number(found["at_reference"].get(method, {}).get("mean", {}).get(measure))

    with_it = {
        name: found for name, found in collections.items() if measure in found["reference"]["mean"]
    }
    return _rows(with_it, _methods(collections), cell)


def _calibration(collections: dict[str, Any]) -> list[list[str]]:
    """True rates where the risk's curve expects the rates of EXPECTED, and how many times less."""
    rows = [["collection", *(f"{rate:g}" for rate in EXPECTED)]]
    for name, found in collections.items():
        points = [point for point in found["curves"]["risk"] if point.get("expected") is not None]
        cells = []
        for rate in EXPECTED:
            true = _true_rate(points, rate)
            times = "" if not true else f" x{_number(rate / true)}"
            cells.append(_number(true) + times)
        rows.append([name, *cells])
    return rows


def _true_rate(points: Sequence[dict[str, Any]], expected: float) -> float | None:
    ordered = sorted(points, key=lambda point: point["expected"])
    known = [point["expected"] for point in ordered]
    if not known or not known[0] <= expected <= known[-1]:
        return None
    return float(np.interp(expected, known, [point["false_negatives"] for point in ordered]))


def _cleaner(collections: dict[str, Any]) -> list[list[str]]:
    def cell(found: dict[str, Any], method: str) -> str:
        other = found["cleaner_than_candidate"].get(method)
        if other is None:
            return "not measured"
        return f"{other['cleaner']} of {other['compared']}, {_number(other['gap'])}"

    compared = {name for found in collections.values() for name in found["cleaner_than_candidate"]}
    others = [name for name in _methods(collections) if name in compared]
    return _rows(collections, others, cell)


def _rows(
    collections: dict[str, Any],
    methods: Sequence[str],
    cell: Callable[[dict[str, Any], str], str],
    heads: Sequence[str] = (),
) -> list[list[str]]:
    rows = [
        [name, *(cell(found, method) for method in methods)] for name, found in collections.items()
    ]
    return [["collection", *(heads or methods)], *rows]


def _methods(collections: dict[str, Any]) -> list[str]:
    return list({name: None for found in collections.values() for name in found["curves"]})


def _reached(reached: list[float] | None) -> str:
    if reached is None:
        return "never full"
    low, high = (_number(number) for number in reached)
    return f"not there: {low} only" if low == high else f"not there: {low} to {high}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".replace("0.", ".", 1)
