"""Hard negatives for semantic search: mined by several teachers, cleaned of false ones.

run = polymine.mine("mine.toml")     # or tables: corpus=, queries=, judgments=; or pairs=
run = polymine.open("runs/mine-01")
run.triplets; run.why("q17"); run.select(max_false_negative_rate=0.05)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymine.front_door import (
        Run,
        clean,
        compare,
        diff,
        evaluate,
        gap,
        mine,
        open,
        pipeline,
        plan,
        train,
    )

__all__ = [
    "Run", "clean", "compare", "diff", "evaluate", "gap", "mine", "open", "pipeline", "plan",
    "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import on first use: `import polymine` itself costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from polymine import front_door

    return getattr(front_door, name)


def __dir__() -> list[str]:
    """Offer the names that come on first use, too, as a notebook completes them."""
    return sorted({*globals(), *__all__})
