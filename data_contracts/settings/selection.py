"""Which candidates become negatives: by which rule, with which risk, validated how."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import Settings
from polymine.data_contracts.settings.models import ModelSettings


class SelectionSettings(Settings):
    """Which candidates become negatives: by risk, or by one of NV-Retriever's five rules.

    `risk` takes the hardest candidates whose expected share of false negatives stays within
    `max_false_negative_rate`, a budget over the whole set. Under the others (arXiv 2407.15831) a
    candidate passes when its score is strictly below the query's ceiling, computed from `pos`, the
    lowest score of its known positives: absolute: `absolute`; margin: `pos - margin`; percent:
    `pos - |pos| (1 - percent)`; naive and shifted have none.
    """

    replaced = {"ceiling": "the lowest of a query's known positives always sets the ceiling"}

    rule: Literal["risk", "naive", "shifted", "absolute", "margin", "percent"] = "risk"
    """What decides: the probability that a candidate is relevant, or a ceiling on its score."""
    max_false_negative_rate: float = Field(0.02, gt=0, lt=1)
    """Rule `risk`: share of all negatives that may turn out to be relevant, as estimated."""
    max_risk: float = Field(0.25, gt=0, le=1)
    """Rule `risk`: no single negative may be likelier to be relevant than this. It keeps the budget
    of all queries from being spent on a few."""
    max_false_positive_rate: float = Field(0.0, ge=0, lt=1)
    """Rule `risk`: candidates become further positives, the likeliest first, as long as so small a
    share of them may be wrong, as estimated; none that is likelier wrong than right. How often the
    risk errs is learned from `dataset.labels`; where these are too few, nothing is promoted. Their
    triplets have a `positive_weight`; plain views and other trainers' files count them in full.
    With 0, only what a label calls relevant is promoted."""
    max_hub_share: float | None = Field(None, gt=0, le=1)
    """A document is a negative of at most so large a share of the queries, those it scores highest
    for: a hub lies near everything, and what it teaches once it need not teach again. In small sets
    of 10 queries, or of four times as many as an even spread would give; with 1 of any number. If
    not set, .05 under the rule `risk`; the other rules stay what they are elsewhere."""
    percent: float = Field(0.95, gt=0, le=2)
    """Rule `percent`: ceiling as a share of the positive's score."""
    margin: float = Field(0.05, ge=0)
    """Rule `margin`: distance of the ceiling below the positive's score, in the teacher's units."""
    absolute: float = 0.7
    """Rule `absolute`: ceiling for every query, in the teacher's units."""
    shift: int = Field(10, ge=0)
    """Rule `shifted`: so many of the best candidates are passed over."""
    sampling: Literal["top", "random", "top1_sampled", "softmax"] = "top"
    """How negatives are drawn from the candidates that pass: the hardest, at random, the hardest
    one and others at random, or harder ones more often. The rule `risk` takes `top` or `random`."""
    pool: int = Field(50, ge=1)
    """Sampling other than `top` draws from so many of the hardest candidates that pass."""
    temperature: float = Field(0.05, gt=0)
    """Sampling `softmax`: the lower, the more often the hardest are drawn."""
    teacher: str | None = None
    """Name of the primary teacher, whose scores the rule reads and orders by. If not set, it is the
    first one that no other leads far enough in recall@10 of the known positives: by three standard
    errors, over 20 queries or more; a lexical one, whose scores have another scale for each query,
    by .2 as well. Under `absolute` and `margin`, which are in a teacher's units, it is the first.
    Name it where runs are to be compared, or scores learned."""

    @model_validator(mode="after")
    def _promotes_by_risk(self) -> "SelectionSettings":
        if self.max_false_positive_rate and self.rule != "risk":
            raise ValueError(
                f"`max_false_positive_rate` is for the rule `risk`, this one is `{self.rule}`"
            )
        return self

    @property
    def in_units(self) -> bool:
        """Whether the rule has a number in the units of one teacher, so that no other will do."""
        return self.rule in ("absolute", "margin")

    @property
    def hub_share(self) -> float:
        """Share of the queries that one document may be a negative of."""
        if self.max_hub_share is not None:
            return self.max_hub_share
        return 0.05 if self.rule == "risk" else 1.0


class ValidationSettings(ModelSettings):
    """The cross-encoder and how far it is followed, in logits relative to the known positive.

    Under the rule `risk` its logit is further evidence, and what it has read is promoted only if it
    agrees, with a logit of at least `positive - margin`. Under the others, below
    `positive - margin - grey_zone` a candidate is a negative, up to `positive - margin` it is
    excluded, above it is promoted.
    """

    margin: float = 0.0
    """In logits: how far below the known positive's logit a candidate still counts as relevant."""
    grey_zone: float = Field(1.0, ge=0)
    """In logits: width of the band below that in which a candidate is neither negative nor
    positive. Rules other than `risk` only."""
    pairs_per_query: int = Field(4, ge=1)
    """Rule `risk`: candidates that the cross-encoder reads per query, those nearest the decision
    first. Under the other rules it reads on until the query has its negatives."""


class PositiveSettings(Settings):
    """What becomes of known pairs that the evidence doubts.

    A pair's validity is the probability that it is right: how much more frequent known pairs with
    its scores are than pairs put together at random. It takes 50 known pairs.
    """

    doubtful: Literal["keep", "weight", "drop", "review"] = "keep"
    """`keep` trains on doubtful pairs as on others; `weight` counts every pair by its validity;
    `drop` leaves doubtful ones out of the triplets; `review` does so and writes them to
    `doubtful/`. They are never negatives."""
    least_validity: float = Field(0.5, ge=0, le=1)
    """Validity below which a known pair is doubtful."""
    within: int | None = Field(None, ge=1)
    """Known pairs are also doubtful if no teacher ranks them among its best so many (consistency
    filter); not asked for if not set."""
    least_logit: float | None = None
    """Known pairs are also doubtful if the validator's logit is below it; it is asked about all of
    them then. Not asked for if not set."""
    per_query: int = Field(5, ge=1, le=1_000)
    """Positives of a query that triplets are made of. Of more, chance draws as many, known ones
    before promoted ones: each comes with the same negatives. The others stay closed."""


class RiskSettings(Settings):
    """How the probability that a candidate is relevant is estimated."""

    replaced = {
        "validator_trust": "it is called `validator_weight` now",
        "fit_queries": "the fit always draws 1,000 queries; more hardly change it",
        **dict.fromkeys(
            ("validator_labels", "validator_sample"),
            "the validator is evidence by itself; labels by a judge go into `dataset.labels`",
        ),
        "promote": "say `selection.max_false_positive_rate`: how often a risk is right is learned",
    }
    fit_queries: ClassVar[int] = 1000  # drawn to fit on

    fit: bool = True
    """Fit the weights to the known positives, judgments and labels, starting from the shipped ones;
    or use the shipped ones as they are."""
    validator_weight: float = Field(0.5, ge=0, le=2)
    """How much the cross-encoder's evidence counts beside the rest: 0 not at all, 1 as evidence of
    its own. Half, unless you know better: what it says resembles what the teachers say."""
