"""One step of training: its data, adapter, loss and schedule.

Pairs of languages name the document's first, as MTEB's do: `ru-en` is a Russian document for an
English query.
"""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from polymine.data_contracts.settings.base import NAME, Settings, Source
from polymine.data_contracts.settings.dataset import Reading
from polymine.data_contracts.settings.locations import Model, Table
from polymine.data_contracts.settings.models import Dtype, EncoderSettings

MINED = "mined"
BY_DEVELOPMENT = "development"  # as a value: what the development part chooses
DATA_KINDS = ("triplets", "lists", "parallel", "collection")  # where a part's rows come from
_PAIR = re.compile(r"^[a-z]{2,3}-[a-z]{2,3}$")


class LoraSettings(Settings):
    """The adapter's shape (LoRA, arXiv 2106.09685): an update of rank `rank`, times alpha/rank."""

    rank: int = Field(16, ge=1, le=1024)
    """Rank of the update: more can learn more, and take more memory."""
    alpha: float = Field(32, gt=0)
    """The update is multiplied by alpha/rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the adapter's inputs that is left out in training, none once it is frozen."""
    targets: tuple[str, ...] = Field(("all-linear",), min_length=1)
    """Layers that get an update, by the end of their names; `all-linear` for all."""


class GuideModel(EncoderSettings):
    """A model that training listens to, and how to call it."""

    dtype: Dtype = "float32"
    """Precision to compute the guide's vectors in."""


class AlignSettings(Settings):
    """How an encoder learns to speak to a target that stays as it is (LUSIFER, arXiv 2501.00874).

    The target says a document again of which the encoder saw a part, writes the document that
    answers a query, or the query that a document answers: cross-entropy of its next tokens.
    """

    reconstruct: float = Field(0.28, ge=0, le=1)
    """Share of the batches in which a document is said again."""
    passage: float = Field(0.30, ge=0, le=1)
    """Share of the batches in which the document is written to a query."""
    question: float = Field(0.42, ge=0, le=1)
    """Share of the batches in which the query is written to a document."""
    mask: float = Field(0.5, ge=0, le=1)
    """Share of a document's tokens that the encoder does not see where it is said again. A target
    that reads both ways does not see so many of its own, whatever it writes."""
    causal: bool = True
    """The target reads from left to right meanwhile, as decoders learn to. The authors' code lets
    it see ahead, and with that what it is asked."""

    @model_validator(mode="after")
    def _is_whole(self) -> "AlignSettings":
        total = self.reconstruct + self.passage + self.question
        if abs(total - 1) > 1e-6:
            raise ValueError(f"reconstruct, passage and question add up to {total:g}, not to 1")
        return self


Similarity = Literal["cosine", "l2"]


class LossSettings(Settings):
    """What a batch is judged by."""

    replaced = {
        "trust_remote_code": "say `guide.trust_remote_code`",
        "margin_kind": "`margin` is always a share of the positive's cosine",
    }

    kind: Literal["infonce", "clear", "gist", "distill", "list", "margin", "mse", "align"] = (
        "infonce"
    )
    """`infonce` ranks the positive above the hard negatives and the other documents of the batch.
    `clear` also finds the query, given the document, and brings both orders together
    (arXiv 2604.05821). `gist` ranks as `infonce` does without those that a guide takes for right
    (arXiv 2402.16829). `distill` learns the order of the teacher's stored scores, `margin` by how
    much the positive's is above each negative's (MarginMSE, arXiv 2010.02666). `list` learns the
    order of a whole list from what its `target` says, beside `infonce`. `mse` moves both
    texts of a row to the vector that a guide gives the document (arXiv 2004.09813). `align` is for
    a chain with a target: see `align`."""
    negatives: int = Field(4, ge=0, le=100)
    """Hard negatives per row. With 0, the other documents of the batch are all there is. Of lists,
    all documents but the first: further positives too, and what `list` learns besides."""
    temperature: float = Field(0.05, gt=0, le=10)
    """Cosines are divided by it: the lower, the more the hardest negatives count."""
    target: Literal["risk", "fused", "validator"] | None = None
    """Whose order of a list is learned (`list` only): that of the probability to be relevant
    (`risk`), of the mean of the teachers' z-scores (`fused`), or of the validator's logits, with
    which a list holds only what it has read."""
    teacher_temperature: float | None = Field(None, gt=0)
    """The target's scores are divided by it: the lower, the more its best count (`list` only). If
    not set, it is how far the scores of a list lie apart, as measured."""
    infonce_weight: float = Field(1.0, ge=0, le=1000)
    """How much `infonce` counts beside the order, which counts 1 (`list` only)."""
    similarity: Similarity = "cosine"
    """How alike two vectors are: their cosine, or `l2`, the negative distance of unit vectors
    (`infonce` only)."""
    symmetric: bool = False
    """Also find the query among others, given the document (`infonce` only)."""
    reverse: float = Field(0.4, ge=0, le=1)
    """Share of the loss that finds the query, given the document (`clear` only)."""
    agreement: float = Field(0.2, ge=0, le=1)
    """Share of the loss that brings the order of documents, given the query, to that of queries,
    given the document (`clear` only)."""
    guide: GuideModel | None = None
    """Model whose cosines say which negatives may be right (`gist`), or whose vectors of documents
    are learned (`mse`)."""
    align: AlignSettings = AlignSettings()
    """What the target is asked (`align` only)."""
    margin: float = Field(0.05, ge=0, lt=1)
    """The guide masks what it scores above (1 - margin) times the positive's cosine (`gist`
    only)."""
    contrasts: tuple[Literal["queries", "documents"], ...] = ("queries", "documents")
    """Also compare queries with queries, and positives with positives (`gist` only)."""
    dimensions: tuple[int, ...] | None = Field(None, min_length=1)
    """Also learn with vectors that are cut to so many of their first components, so that they can
    be used so (Matryoshka, arXiv 2205.13147); the whole vectors count as much as each of these."""
    unseen_margin: float | None = Field(None, ge=0, le=2)
    """Leave out documents of other rows that nobody has looked at where their cosine lies more than
    this above the positive's (`infonce` only); none if not set."""
    base_anchor: float = Field(0.0, ge=0)
    """Weight of the mean squared distance between the texts' unit vectors and those of the base
    without adapters, so that it forgets less (arXiv 2609.10750; `infonce`, `clear` and `gist`). It
    costs one more pass over each batch."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "LossSettings":
        if self.kind == "gist" and self.guide is None:
            raise ValueError("loss `gist` needs a `guide`: the model whose cosines mask negatives")
        if self.kind == "mse" and self.guide is None:
            raise ValueError("loss `mse` needs a `guide`: the model whose vectors are learned")
        if self.kind not in ("gist", "mse") and self.guide is not None:
            raise ValueError(
                f"a `guide` is for the losses `gist` and `mse`, this one is `{self.kind}`"
            )
        if self.kind != "align" and self.align != AlignSettings():
            raise ValueError(f"`align` is for the loss `align`, this one is `{self.kind}`")
        if self.kind in ("distill", "margin", "list") and self.negatives == 0:
            raise ValueError(f"loss `{self.kind}` needs `negatives`: it learns from a list")
        if self.dimensions is not None and self.kind in ("mse", "align"):
            raise ValueError(f"`dimensions` are for losses of a search, this one is `{self.kind}`")
        if self.dimensions is not None and min(self.dimensions) < 1:
            raise ValueError("`dimensions` are numbers of components, each 1 or more")
        if self.base_anchor and self.kind not in ("infonce", "clear", "gist"):
            raise ValueError(
                f"`base_anchor` is for `infonce`, `clear` and `gist`, this one is `{self.kind}`"
            )
        of_infonce = {
            "symmetric": self.symmetric,
            "similarity": self.similarity != "cosine",
            "unseen_margin": self.unseen_margin is not None,
        }
        if self.kind != "infonce" and (said := [name for name, on in of_infonce.items() if on]):
            raise ValueError(f"`{said[0]}` is for the loss `infonce`, this one is `{self.kind}`")
        if self.reverse + self.agreement > 1:
            total = self.reverse + self.agreement
            raise ValueError(f"`reverse` and `agreement` add up to {total:g}, which is above 1")
        if self.kind != "clear" and (self.reverse, self.agreement) != (0.4, 0.2):
            raise ValueError(f"`reverse` and `agreement` are for `clear`, this is `{self.kind}`")
        if self.kind != "gist" and self.contrasts != ("queries", "documents"):
            raise ValueError(f"`contrasts` is for the loss `gist`, this one is `{self.kind}`")
        return self

    @model_validator(mode="after")
    def _has_an_order_to_learn(self) -> "LossSettings":
        if self.kind == "list" and self.target is None:
            raise ValueError("loss `list` needs a `target`: risk, fused or validator")
        of_list = {
            "target": self.target is not None,
            "teacher_temperature": self.teacher_temperature is not None,
            "infonce_weight": self.infonce_weight != 1.0,
        }
        if self.kind != "list" and (said := [name for name, on in of_list.items() if on]):
            raise ValueError(f"`{said[0]}` is for the loss `list`, this one is `{self.kind}`")
        return self


class ScheduleSettings(Settings):
    """How long and how fast, with AdamW."""

    replaced = {
        "weight_decay": "it is always 0.01, AdamW's usual one, which hardly touches adapters",
        "gradient_norm": "gradients are always clipped to the L2 norm 1",
    }
    weight_decay: ClassVar[float] = 0.01
    gradient_norm: ClassVar[float] = 1.0

    steps: int | None = Field(None, ge=1)
    """Optimizer steps; as many as `epochs` take if not set."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the data."""
    batch: int = Field(64, ge=2)
    """Rows per optimizer step. Each is a negative of the others, so larger ones teach more."""
    mixed_languages: bool = False
    """Let rows of all language pairs share batches. Otherwise each batch is of one pair: where
    languages mix, those of a row's own language are told from the others by that alone, unless
    positives cross languages."""
    language_temperature: float = Field(1.0, ge=1, le=100)
    """Evens out the language pairs of a part of the data: one of n rows gets batches in proportion
    to n^(1/T) (arXiv 1907.05019, which takes T = 5; an exponent of .3, as of XLM-R and mT5, is
    T = 3.3). With 1 they share by their rows; the higher, the more often the rows of a small one
    are repeated."""
    mini_batch: int = Field(32, ge=1)
    """Texts in memory at once (gradient caching). It changes results by rounding only."""
    learning_rate: float = Field(2e-4, gt=0)
    """Highest learning rate."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises to it."""
    decay: Literal["linear", "cosine", "constant"] = "cosine"
    """How the learning rate falls after that."""

    @model_validator(mode="after")
    def _evens_out_batches_of_one_pair(self) -> "ScheduleSettings":
        if self.mixed_languages and self.language_temperature != 1:
            raise ValueError(
                "`language_temperature` divides batches among language pairs, and with "
                "`mixed_languages` each holds all of them: leave out one of the two"
            )
        return self


class _Data(Settings):
    triplets: Source | None = None
    """Folder of a mining run, or Parquet files of triplets; `mined` for what this pipeline
    mines."""
    lists: Table | None = None
    """Folder of a mining run, or `mined`: a row is a query with all of its positives, each counted
    as it is likely to be right, and its negatives; for the loss `list` also with candidates from
    the whole range of scores and risks. For the losses `infonce` and `list`."""
    parallel: Source | None = None
    """Pairs of texts that mean the same: a file with text_a, lang_a, text_b, lang_b, score?. They
    are trained in both directions."""
    collection: Table | None = None
    """Folder with corpus, queries and qrels whose `group_id`s (or translations) say which texts are
    versions of one another. Every query goes with every version of its document."""
    languages: tuple[str, ...] | None = Field(None, min_length=1)
    """Pairs of languages to take, the document's first, as `ru-en`; all if not set."""
    share: float | None = Field(None, gt=0, le=1)
    """Share of the step's batches; by the number of rows if no part names one."""
    limit: int | None = Field(None, ge=1)
    """Take at most so many rows, always the same ones; all if not set."""
    min_score: float | None = None
    """Take only parallel pairs with at least this score."""
    min_positive_weight: Annotated[float, Field(gt=0, le=1)] | Literal["development"] | None = None
    """Take only triplets whose positive is right with at least this probability
    (`positive_weight`): candidates promoted with less are left out, and are no negatives either.
    `"development"` trains the step with 1 (none that is doubted), .9, .7 and .5, and keeps what is
    best on the development part: up to four trainings."""


class TrainingData(Reading, _Data):
    """One part of a step's data. Batches never mix parts; see `schedule.mixed_languages`."""

    @field_validator("languages")
    @classmethod
    def _are_pairs(cls, pairs: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for pair in pairs or ():
            if not _PAIR.match(pair):
                raise ValueError(
                    f"`{pair}` is no language pair: write document and query, as `ru-en`"
                )
        return pairs

    @property
    def is_mined(self) -> bool:
        """Whether it is what this pipeline mines."""
        return MINED in (self.triplets, self.lists)

    @model_validator(mode="after")
    def _has_one_source(self) -> "TrainingData":
        named = [name for name in DATA_KINDS if getattr(self, name)]
        if len(named) != 1:
            raise ValueError(
                "name one of `triplets`, `lists`, `parallel` and `collection`, "
                f"got {' and '.join(named) or 'none'}"
            )
        if self.min_score is not None and not self.parallel:
            raise ValueError(f"`min_score` is for `parallel`, this is `{named[0]}`")
        if self.grades is not None and self.parallel:
            raise ValueError("`grades` are for judged pairs; for `parallel` say `min_score`")
        if self.min_positive_weight is not None and self.triplets is None:
            raise ValueError(f"`min_positive_weight` is for `triplets`, this is `{named[0]}`")
        return self


Part = Literal["encoder", "connector", "target"]


class StepSettings(Settings):
    """One stretch of training of one adapter."""

    name: str = Field(pattern=NAME)
    """Name of the step and of its adapter."""
    adapter: Literal["new", "continue", "stack", "full"] = "new"
    """`new` trains an adapter on the base, `continue` trains that of `on` further, `stack` trains a
    new one on top of that of `on`, which is frozen. `full` trains all weights of the base instead
    of an adapter, at a learning rate around 2e-5; what comes of it is a whole model, of one step
    for all languages."""
    on: Model | None = None
    """An earlier step, or the folder of a trained adapter; the step before if not set."""
    languages: tuple[str, ...] | None = Field(None, min_length=1)
    """Languages whose texts pass through the adapter. Texts of others pass through the untouched
    base. All if not set."""
    data: tuple[TrainingData, ...] = Field((TrainingData(triplets=MINED),), min_length=1)
    """What the step learns from, in one part or several."""
    learns: tuple[Part, ...] | None = Field(None, min_length=1)
    """Parts of a chain that learn: encoder and target by adapters, the connector whole. All if not
    set, but never the target in `align`. Only where `training.target` makes a chain."""
    lora: LoraSettings = LoraSettings()
    """The adapter's shape."""
    loss: LossSettings = LossSettings()
    """What a batch is judged by."""
    schedule: ScheduleSettings = ScheduleSettings()
    """How long it trains and how fast."""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Seed of the adapter's first weights, the order of rows and dropout."""

    @property
    def is_tried(self) -> bool:
        """Whether the development part chooses which of its positives are trained on."""
        return any(part.min_positive_weight == BY_DEVELOPMENT for part in self.data)

    @model_validator(mode="after")
    def _shares_are_whole(self) -> "StepSettings":
        shares = [part.share for part in self.data if part.share is not None]
        if shares and len(shares) < len(self.data):
            raise ValueError("either every part of `data` names a `share`, or none does")
        if shares and abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"the shares of `data` add up to {sum(shares):g}, not to 1")
        if self.languages is not None and self.schedule.mixed_languages:
            raise ValueError(
                "`schedule.mixed_languages` needs one adapter for all: leave out the step's "
                "`languages` (`per_language` in a recipe), by which a text goes through it or not"
            )
        if self.adapter in ("new", "full") and self.on is not None:
            raise ValueError(
                f"what is `{self.adapter}` stands on the base: leave out `on` (`{self.on}`)"
            )
        if self.adapter == "full" and (self.languages is not None or self.loss.base_anchor):
            raise ValueError(
                "where all weights are trained (`full`) no untouched base is left: leave out "
                "`languages` and `loss.base_anchor`"
            )
        return self
