"""Records of trainers' own formats, whose texts lie in passages or conversations.

A format is a row of `_FORMATS`: the keys that hold its texts, and how the text of one passage or
conversation is read, and replaced. FlagEmbedding's `query, pos, neg` is flat as it is. What belongs
to a format and does not look as it should is a ValueError, and the record is set aside like any
other broken row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polymine.reading.pairs import text_ids

Row = dict[str, Any]
New = Mapping[int, str | None]  # by its place, another text; None takes it out
_IDS = ("docid", "id", "passage_id", "psg_id")


def flattened(row: Row) -> tuple[Row, str]:
    """Put the texts of a trainer's record in the place of what holds them.

    Args:
        row: an object of any format; a plain one stays as it is.

    Returns:
        The row, and the name of the format it is written in, "" for a plain one. Records that name
        documents by ids hold these as `positive_ids` and `negative_ids`.

    Raises:
        ValueError: a record of a known format lacks something; the message is a rule.
    """
    for name, keys in _BY_IDS.items():
        if keys[0] in row and (sides := [_ids(row, key) for key in keys]) != [None, None]:
            rest = {key: value for key, value in row.items() if key not in keys}
            return rest | {"positive_ids": sides[0] or [], "negative_ids": sides[1] or []}, name
    form = _format_of(row)
    if form is None:
        return row, "FlagEmbedding" if {"query", "pos", "neg"} <= row.keys() else ""
    texts: Row = {
        key: [form.read(item, key) for item in _listed(row, key)]
        for key in form.lists
        if key in row
    }
    if form.query is not None and form.query in row:
        texts[form.query] = form.read(row[form.query], form.query)
    return row | texts, form.name


def edited(row: Row, cells: Mapping[str, New]) -> Row:
    """A record, plain or a trainer's, with other texts in some places of some of its columns."""
    form = _format_of(row)
    write = form.write if form else (lambda _, text: text)
    for key, new in cells.items():
        old = _listed(row, key) if form else row[key]
        beside = scores_beside(row, key, old)
        row = row | {key: changed(old, new, write)}
        if any(text is not None for text in new.values()):  # what they say of the new text, nobody
            row = {name: value for name, value in row.items() if name not in beside}
        else:
            row = row | {name: changed(row[name], new) for name in beside}
    return row


def scores_beside(row: Mapping[str, Any], key: str, texts: Any) -> list[str]:
    """Columns with a number for each text of a list, as `neg_scores` beside `neg`."""
    if not isinstance(texts, list):
        return []
    return [
        name
        for name, value in row.items()
        if name.startswith(f"{key}_") and isinstance(value, list) and len(value) == len(texts)
    ]


def changed(value: Any, new: New, write: Callable[[Any, str], Any] = lambda _, text: text) -> Any:
    """A text, or a list of what `write` gives other texts, with other ones in some places."""
    if not isinstance(value, list):
        return new[0]
    changes = {place: text for place, text in new.items() if text is not None}
    return [
        write(item, changes[place]) if place in changes else item
        for place, item in enumerate(value)
        if place in changes or place not in new
    ]


def _passage(item: Any, key: str) -> str | None:
    """The text of a passage after its title; a passage may be its text alone."""
    if isinstance(item, dict):
        title, text = item.get("title") or "", item.get("text")
        item = f"{title} {text}".strip() if title and text else text
    if item is not None and not isinstance(item, str):
        raise ValueError(f"`{key}` is not a list of passages with a `text`")
    return item


def _other_passage(item: Any, text: str) -> Any:
    """A passage of the same shape: no title, an id of its own, nothing that was said of the old."""
    if not isinstance(item, dict):
        return text
    known = {"title": "", "text": text, **dict.fromkeys(_IDS, text_ids("d", [text])[0])}
    return {key: known[key] for key in item if key in known}


def _said(messages: Any, key: str) -> str:
    """What the user says: the content of a conversation's last message."""
    if isinstance(messages, str):
        return messages
    try:
        content = messages[-1]["content"]
    except (IndexError, KeyError, TypeError):
        content = None
    if not isinstance(content, str):
        raise ValueError(f"`{key}` holds no message with a `content`")
    return content


def _otherwise_said(messages: Any, text: str) -> Any:
    if isinstance(messages, str):
        return text
    return [*messages[:-1], messages[-1] | {"content": text}]


@dataclass(frozen=True)
class _Format:
    """How a trainer writes its records.

    Args:
        name: what people call it.
        lists: keys of positives and negatives; no other format has the first.
        read: one of them as a text, given its key for errors.
        write: one of them with another text.
        query: key of a query that is one of them, too; None where it is a text.
    """

    name: str
    lists: tuple[str, ...]
    read: Callable[[Any, str], str | None] = _passage
    write: Callable[[Any, str], Any] = _other_passage
    query: str | None = None


_FORMATS = (
    _Format("Tevatron", ("positive_passages", "negative_passages")),
    _Format("ms-swift", ("positive_messages", "negative_messages"), _said, _otherwise_said,
            "messages"),
    _Format("NeMo", ("pos_doc", "neg_doc")),
    _Format("DPR", ("positive_ctxs", "hard_negative_ctxs", "negative_ctxs")),
)  # fmt: skip
_BY_IDS = {  # of a corpus beside them
    "NeMo": ("pos_doc", "neg_doc"),
    "Tevatron": ("positive_document_ids", "negative_document_ids"),
}


def _format_of(row: Row) -> _Format | None:
    return next((form for form in _FORMATS if form.lists[0] in row), None)


def _ids(row: Row, key: str) -> list[str] | None:
    """Ids of documents; None where there are none, or their texts are there."""
    items = _listed(row, key)
    if key.endswith("_ids"):
        return [str(each) for each in items]
    if not items or not all(isinstance(each, dict) and "text" not in each for each in items):
        return None
    return [str(each.get("id")) for each in items]


def _listed(row: Row, key: str) -> Sequence[Any]:
    value = row.get(key) or []
    return value if isinstance(value, list) else [value]
