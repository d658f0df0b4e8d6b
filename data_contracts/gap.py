"""Schemas of the language gap: what is measured per text, and what it comes to per pair.

`language_a` and `language_b` are a pair of languages, in the alphabet's order; of a direction the
language of the documents, or of what is looked for, comes first. `*` stands for all languages.
"""

import dataframely as dy


class ParallelTexts(dy.Schema):
    """Texts that say the same: one per group and language."""

    group = dy.String(primary_key=True)
    language = dy.String(primary_key=True, min_length=2)
    text = dy.String(nullable=False, min_length=1)


class GapFlags(dy.Schema):
    """What speaks against a text or a pair of languages; what is flagged is in no mean.

    `kind` is `script` (texts in another script than the language's, set aside; `language_b` is the
    language again), `extra` (further texts of a group in one language, set aside), `alone` (texts
    that say what no text in another language says, set aside), `few` (pairs with too few texts),
    `scores` (of a direction, too few pairs with scores, or but one score) or `unrelated` (a pair
    whose texts are as long as if drawn by chance).
    """

    kind = dy.String(primary_key=True)
    language_a = dy.String(primary_key=True)
    language_b = dy.String(primary_key=True)
    count = dy.UInt32(nullable=False)
    example = dy.String(nullable=False)


class GapCases(dy.Schema):
    """One value of one measure: of a group's texts, or of a query."""

    measure = dy.String(primary_key=True)
    language_a = dy.String(primary_key=True)
    language_b = dy.String(primary_key=True)
    case = dy.String(primary_key=True)
    value = dy.Float64(nullable=False, allow_inf=False, allow_nan=False)


class GapClusters(dy.Schema):
    """What cases of a set are drawn with, where that is more than the case itself."""

    case = dy.String(primary_key=True)
    cluster = dy.String(nullable=False)


class GapSpreads(dy.Schema):
    """How cosines of one kind are spread; see `polymine.evaluation.gap.cosines` for the kinds."""

    kind = dy.String(primary_key=True)
    language_a = dy.String(primary_key=True)
    language_b = dy.String(primary_key=True)
    count = dy.UInt32(nullable=False)
    mean = dy.Float64(nullable=False)
    deviation = dy.Float64(nullable=False, min=0.0)
    q05 = dy.Float64(nullable=False)
    q25 = dy.Float64(nullable=False)
    q50 = dy.Float64(nullable=False)
    q75 = dy.Float64(nullable=False)
    q95 = dy.Float64(nullable=False)


class GapSimilarities(dy.Schema):
    """How near the two texts of a pair lie, beside the score that people gave it."""

    language_a = dy.String(primary_key=True)
    language_b = dy.String(primary_key=True)
    case = dy.String(primary_key=True)
    similarity = dy.Float64(nullable=False, allow_inf=False, allow_nan=False)
    gold = dy.Float64(nullable=False, allow_inf=False, allow_nan=False)


class GapScores(dy.Schema):
    """A measure of a model on a set: of a pair or direction, a language's mean, or the whole mean.

    Means, whose other language is `*`, are over pairs with `count` of at least the fewest asked
    for and without a flag. `low` and `high` bound `value`; see `polymine.evaluation.gap.scores`.
    """

    model = dy.String(primary_key=True)
    set = dy.String(primary_key=True)
    measure = dy.String(primary_key=True)
    language_a = dy.String(primary_key=True)
    language_b = dy.String(primary_key=True)
    count = dy.UInt32(nullable=False)
    value = dy.Float64(nullable=False, allow_inf=False, allow_nan=False)
    low = dy.Float64(nullable=False)
    high = dy.Float64(nullable=False)
    flagged = dy.Bool(nullable=False)


class GapChanges(dy.Schema):
    """A model against the first one, on the same cases; bounds as in `GapScores`."""

    model = dy.String(primary_key=True)
    reference = dy.String(primary_key=True)
    set = dy.String(primary_key=True)
    measure = dy.String(primary_key=True)
    language_a = dy.String(primary_key=True)
    language_b = dy.String(primary_key=True)
    count = dy.UInt32(nullable=False)
    change = dy.Float64(nullable=False, allow_inf=False, allow_nan=False)
    low = dy.Float64(nullable=False)
    high = dy.Float64(nullable=False)
    flagged = dy.Bool(nullable=False)


class GapPoints(dy.Schema):
    """A text on the map of a projection; coordinates say nothing but which texts are near."""

    method = dy.String(primary_key=True)
    group = dy.String(primary_key=True)
    language = dy.String(primary_key=True)
    x = dy.Float32(nullable=False)
    y = dy.Float32(nullable=False)
    text = dy.String(nullable=False)
