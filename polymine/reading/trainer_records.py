"""Records of trainers' own formats, laid flat: query, positive (a list) and negative (a list).

FlagEmbedding's `query, pos, neg` is flat as it is. What belongs to a format and does not look as
it should is a ValueError, and the record is set aside like any other broken row.
"""

from collections.abc import Callable
from typing import Any

Row = dict[str, Any]


def flattened(row: Row) -> tuple[Row, str]:
    """Turn a trainer's record into flat columns.

    Args:
        row: an object of any format; a plain one stays as it is.

    Returns:
        The row, and the name of the format it is written in, "" for a plain one.

    Raises:
        ValueError: a record of a known format lacks something; the message is a rule.
    """
    for key, (form, flatten) in _FORMATS.items():
        if key in row:
            return flatten(row), form
    return row, "FlagEmbedding" if {"query", "pos", "neg"} <= row.keys() else ""


def _tevatron(row: Row) -> Row:
    return {
        "query_id": row.get("query_id"),
        "query": row.get("query"),
        "positive": _passages(row, "positive_passages"),
        "negative": _passages(row, "negative_passages"),
    }


def _nemo(row: Row) -> Row:
    """NeMo Automodel: documents as texts, or as ids of a corpus beside (`positive_ids`)."""
    flat = {"query_id": row.get("question_id"), "query": row.get("question", row.get("query"))}
    documents = _listed(row, "pos_doc") + _listed(row, "neg_doc")
    if documents and all(isinstance(item, dict) and "text" not in item for item in documents):
        for side, key in (("positive_ids", "pos_doc"), ("negative_ids", "neg_doc")):
            flat[side] = [str(item.get("id")) for item in _listed(row, key)]
        return flat
    return {**flat, "positive": _passages(row, "pos_doc"), "negative": _passages(row, "neg_doc")}


def _tevatron_ids(row: Row) -> Row:
    """Tevatron's later form: documents by their ids, which a corpus beside it holds."""
    return {
        "query_id": row.get("query_id"),
        "query": row.get("query_text"),
        "positive_ids": [str(each) for each in _listed(row, "positive_document_ids")],
        "negative_ids": [str(each) for each in _listed(row, "negative_document_ids")],
    }


def _dpr(row: Row) -> Row:
    return {
        "query": row.get("question"),
        "positive": _passages(row, "positive_ctxs"),
        "negative": _passages(row, "hard_negative_ctxs") + _passages(row, "negative_ctxs"),
    }


def _ms_swift(row: Row) -> Row:
    return {
        "query": _said(row["messages"], "messages"),
        "positive": [_said(m, "positive_messages") for m in _listed(row, "positive_messages")],
        "negative": [_said(m, "negative_messages") for m in _listed(row, "negative_messages")],
    }


_FORMATS: dict[str, tuple[str, Callable[[Row], Row]]] = {
    "positive_passages": ("Tevatron", _tevatron),
    "positive_messages": ("ms-swift", _ms_swift),
    "pos_doc": ("NeMo", _nemo),
    "positive_document_ids": ("Tevatron", _tevatron_ids),
    "positive_ctxs": ("DPR", _dpr),
}


def _listed(row: Row, key: str) -> list[Any]:
    value = row.get(key) or []
    return value if isinstance(value, list) else [value]


def _passages(row: Row, key: str) -> list[str | None]:
    """Texts of passages, each after its title; a passage may be its text alone."""
    texts = []
    for item in _listed(row, key):
        if isinstance(item, dict):
            title, text = item.get("title") or "", item.get("text")
            item = f"{title} {text}".strip() if title and text else text
        if item is not None and not isinstance(item, str):
            raise ValueError(f"`{key}` is not a list of passages with a `text`")
        texts.append(item)
    return texts


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
