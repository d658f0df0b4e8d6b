"""Picture of `benchmarks.training.lusifer`: a radar per task, a spoke per language.

The paper's figures have the same form (arXiv 2501.00874, appendix).
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.negatives.curves import COLOURS

TASKS = {
    "own": "own corpus, nDCG@10", "xquad": "XQuAD, nDCG@10", "sts17": "STS17, Spearman",
    "sib200": "SIB-200, V-measure",
}  # fmt: skip
SHOWN = ("full", "encoder", "target", "translation")  # four lines can be told apart


def draw(figures: dict[str, Any], target: str, path: Path) -> Path | None:
    """Draw the full chain, the baselines and the untouched encoder, each language within itself.

    Args:
        figures: of `benchmarks.training.lusifer`, by `target, arm`.
        target: whose arms are shown.
        path: of the picture.

    Returns:
        The path; None where none of the arms that are shown is there.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    named = {name: f"{target}, {name}" for name in SHOWN}
    arms = {name: figures[key]["sets"] for name, key in named.items() if key in figures}
    if not arms:
        return None
    figure, axes = pyplot.subplots(
        1, len(TASKS), figsize=(4 * len(TASKS), 4.6), layout="constrained",
        subplot_kw={"projection": "polar"},
    )  # fmt: skip
    for axis, (task, title) in zip(axes, TASKS.items(), strict=True):
        _panel(axis, title, lines(arms, task))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def lines(arms: dict[str, Any], task: str) -> dict[str, dict[str, float]]:
    """Take a task's figure of every language within itself, by arm, the untouched encoder first."""
    first = next(iter(arms.values()))[task]
    codes = sorted(code for code in first if len(code) == 2)
    untouched = {code: first[code][1] for code in codes}
    return {"untouched encoder": untouched} | {
        name: {code: sets[task][code][0] for code in codes} for name, sets in arms.items()
    }


def _panel(axis: Any, title: str, found: dict[str, dict[str, float]]) -> None:
    for colour, (name, values) in zip(COLOURS, found.items(), strict=False):
        angles = np.linspace(0, 2 * np.pi, len(values), endpoint=False)
        closed = [*values.values(), next(iter(values.values()))]
        axis.plot([*angles, angles[0]], closed, color=colour, lw=1.6, label=name)
        axis.set_xticks(angles, list(values))
    axis.set_ylim(0, None)
    axis.set_yticks([round(axis.get_ylim()[1] * part, 2) for part in (1 / 3, 2 / 3)])
    axis.set_title(title, fontsize=10)
