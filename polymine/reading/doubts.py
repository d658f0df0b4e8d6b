"""What a table's values make doubtful: texts that are none, and columns that say what is right.

Each doubt is a sentence with an example and the setting that settles it; what the settings name is
never doubted.
"""

import re

import polars as pl

from polymine.data_contracts.settings import Reading
from polymine.reading.roles import PARALLEL, Role

NO_TEXT = re.compile(
    r"_*|column \d+|unnamed: ?\d+|__index_level_\d+__|_?id|.*_id|idx|index|title|score|split|source"
    r"|language|lang|.*(neg|distract|incorrect|wrong|reject).*",
    re.IGNORECASE,
)
# What a column is called that says of a pair whether it is right, and values of which one is no.
_VERDICT = re.compile(
    r"(?!.*(positive|negative|pos|neg)_).*(?:^|[_\W])"
    r"(gold|labels?|relevan\w*|relate\w*|duplicate|judg\w*|grades?|scores?|similarity|rating|class|rank|sim"
    r"|cos|cosine|distance|confidence|prob|probability|verdict|quality|annotation)(?:$|[_\W])",
    re.IGNORECASE,
)
_TRIPLES = re.compile(r"(?i)(?:^|[\W_])tripl(e|et)s?(?:$|[\W_])")  # in the name of a file
_EITHER = ({"0", "1"}, {"true", "false"}, {"yes", "no"}, {"0.0", "1.0"})
_LOOKED = 100_000  # values that are looked at
_NUMBER = "nothing but numbers"
_CHOICES = "choices rather than texts"
_WRITTEN = "lists, objects or bytes written out"
_MARKED = "texts in single quotation marks"
_NO_TEXTS = {  # what the cells of a column may be instead of texts, all of them
    _CHOICES: r"(?i)^\s*(\(?[a-e][).]?|true|false|yes|no)\s*$",
    _MARKED: r"(?s)^\s*'.*'\s*$",
    _WRITTEN: r"""(?s)^\s*(\[\s*(['"].*['"]\s*)?\]|\{\s*['"].*\}|b'.*'|b".*")\s*$""",
}
_ADVICE = {
    _NUMBER: "ids belong into `judgments`, beside `corpus` and `queries`, grades under a header",
    _CHOICES: "name the column with the text that was chosen",
    _MARKED: "enclose fields in double ones",
    _WRITTEN: "write Parquet or JSON lines, which have lists",
}


def value_doubts(
    frame: pl.DataFrame, role: Role, found: dict[str, str], hints: Reading
) -> list[str]:
    """Say what speaks against reading a table as it would be read.

    Args:
        frame: under the role's names.
        found: the file's own name of each meaning.

    Returns:
        A sentence per doubt.
    """
    doubts = []
    if role.is_pairs or role.is_judgments:
        doubts += _label_doubts(frame, role, found, hints)
    doubts += _text_doubts(frame, role, found, hints)
    if (role.is_pairs and "negative" not in found) or role.is_judgments or role is PARALLEL:
        doubts += _verdict_doubts(frame, role, found, hints)
    return doubts


def third_column(frame: pl.DataFrame, file: str, hints: Reading) -> list[str]:
    """The third text of a line without a header may be a negative, or a note on the pair.

    Only what calls itself triplets, as MS MARCO's `triples.train.small.tsv`, says which.
    """
    told = "negative" in hints.columns or _TRIPLES.search(file.rpartition("/")[2])
    if told or "negative" not in frame.columns:
        return []
    written = frame["negative"].explode(empty_as_null=True).drop_nulls()
    if written.is_empty():
        return []
    return [
        f"no header says what the third column is, as {written[0]!s:.80}; add one, or say that it "
        'holds negatives, as `[dataset.columns] negative = "negative"`, or that it does not: '
        '`negative = ""`'
    ]


def _text_doubts(
    frame: pl.DataFrame, role: Role, found: dict[str, str], hints: Reading
) -> list[str]:
    """Texts may be ids, as in MS MARCO's files of triples, choices, or lists in one cell."""
    said = {role.keys.get(key, key) for key in hints.columns}
    doubts = []
    texts = {*role.needed, "negative"} - {"query_id", "doc_id", "split"} - said
    for meaning in (each for each in found if each in texts):
        written = frame[meaning].drop_nulls()
        if written.dtype == pl.List(pl.String):
            written = written.explode(empty_as_null=True).drop_nulls()
        if written.dtype != pl.String or written.is_empty():
            continue
        what = _no_texts(written.head(_LOOKED), meaning)
        if what is not None:
            key = {column: name for name, column in role.keys.items()}.get(meaning, meaning)
            doubts.append(
                f"`{found[meaning]}` holds {what}, as {written[0]!s:.80}; {_ADVICE[what]}; if they "
                f'are texts, say `{key} = "{found[meaning]}"` in `[dataset.columns]`'
            )
    return doubts


def _no_texts(written: pl.Series, meaning: str) -> str | None:
    """What all of some cells are instead of texts; choices are few, and come more than once."""
    if not written.cast(pl.Float64, strict=False).null_count():
        return _NUMBER
    for what, pattern in _NO_TEXTS.items():
        chosen = meaning == "positive" and 1 < written.n_unique() < len(written)
        doubted = {_CHOICES: chosen, _MARKED: len(written) > 1}.get(what, True)
        if doubted and written.str.contains(pattern).all():
            return what
    return None


def _verdict_doubts(
    frame: pl.DataFrame, role: Role, found: dict[str, str], hints: Reading
) -> list[str]:
    """A column that is not used may say which pairs are right: else wrong ones are positives.

    Judgments hold little else: there any column of numbers may.
    """
    meaning = "score" if role is PARALLEL else "relevance"
    if meaning in hints.columns:
        return []
    if meaning in found:
        return _ranking_doubts(frame, role, found)
    if role.is_pairs and (listed := _numbers_beside(frame, found)):
        return [
            f"`{listed}` holds a number for each text of `{found['positive']}`, which may say "
            "which are right; call them `labels` and `documents`, or say that it does not: "
            '`[dataset.columns] relevance = ""`'
        ]
    for column in frame.select(name for name in frame.columns if name not in found):
        written = column.drop_nulls()
        alike = written.n_unique() < 2 and not column.null_count()  # says the same of all
        if column.dtype.is_nested() or written.is_empty() or alike:
            continue
        values = set(written.cast(pl.String).str.to_lowercase().head(_LOOKED).unique())
        number = not written.cast(pl.Float64, strict=False).null_count()
        few = number or len(values) <= min(20, max(2, len(written) // 2))  # and no texts
        named = (_VERDICT.match(column.name) and few) or (role.is_judgments and number)
        if role is PARALLEL and number and not NO_TEXT.fullmatch(column.name):
            named = named or any("." in value for value in values)  # fractions are scores
        either = values in _EITHER and not NO_TEXT.fullmatch(column.name)
        if named or either:
            shown, graded = ", ".join(sorted(values)[:3]), ", with `grades` for the values that are"
            return [
                f"`{column.name}` holds {shown}, which may say which pairs are right; read it, as "
                f'`[dataset.columns] {meaning} = "{column.name}"`'
                f"{graded if meaning == 'relevance' else ''}, or say that it does not: "
                f'`{meaning} = ""`'
            ]
    return []


def _numbers_beside(frame: pl.DataFrame, found: dict[str, str]) -> str | None:
    """A list of numbers as long as that of the positives; `pos_scores` speaks of `pos` alone."""
    if not isinstance(kind := frame.schema.get("positive"), pl.List) or kind.inner != pl.String:
        return None
    lengths = frame["positive"].list.len()
    return next(
        (
            name
            for name, kind in frame.schema.items()
            if isinstance(kind, pl.List)
            and (kind.inner.is_numeric() or kind.inner == pl.Boolean)
            and name not in found
            and not name.startswith((f"{found.get('positive')}_", "pos_", "positive_"))
            and (lengths > 1).any()
            and (frame[name].list.len() == lengths).all()
        ),
        None,
    )


def _ranking_doubts(frame: pl.DataFrame, role: Role, found: dict[str, str]) -> list[str]:
    """A `score` beside a `rank` is a system's, and no grade."""
    ranked = "rank" in (name.lower() for name in frame.columns)
    if not (role.is_judgments and ranked and found["relevance"].lower() == "score"):
        return []
    return [
        "`score` beside `rank` is a ranking, which says what was found and not what is relevant; "
        "name it as `candidates`, or say that they are grades: `[dataset.columns] relevance = "
        '"score"`'
    ]


def _label_doubts(
    frame: pl.DataFrame, role: Role, found: dict[str, str], hints: Reading
) -> list[str]:
    """A column called `label` may hold classes, as those of inference, and no grades."""
    if hints.grades is not None or found.get("relevance", "").lower() != "label":
        return []
    given = frame["relevance"].drop_nulls()
    if given.dtype.is_nested():
        return []  # what kind a column should be of, others say
    numbers = given.cast(pl.Float64, strict=False).drop_nulls()
    classes = (numbers < 0).any() or found.get("anchor", "").lower() == "premise"
    if role.is_pairs and len(given):
        classes = classes or not len(numbers) or (numbers > 1).any()
    if not classes:
        return []
    values = ", ".join(given.cast(pl.String).unique().sort().to_list()[:5])
    return [
        f"`label` holds {values}, which are classes rather than grades; say which values are "
        "relevant, as `grades = [1]`, or call the column `relevance` if they are grades"
    ]
