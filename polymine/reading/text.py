"""Bytes to text: which encoding, and which lines are not in it."""

import codecs
import re

from polymine.data_contracts.errors import InputError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
_UNDECODED = re.compile("[\udc80-\udcff]")
_AS = 'name the encoding, as `encoding = "cp1252"`, or save it as UTF-8'


def decoded(content: bytes, name: str, encoding: str | None) -> tuple[str, str]:
    """Decode a file: by the settings, by its byte order mark, or as UTF-8.

    Args:
        name: what errors call the file.
        encoding: what the settings say; None if nothing.

    Returns:
        The text and its encoding. Bytes that are no UTF-8 stay in it as half surrogates, for
        `is_whole` to find their lines.

    Raises:
        InputError: bytes are not in the encoding that was named, or the file is plainly UTF-16
            without saying so.
    """
    marked = next((code for mark, code in _MARKS.items() if content.startswith(mark)), None)
    if encoding is None and marked is None:
        if len(content) > 1 and (content[0] == 0) != (content[1] == 0):
            raise InputError(f"{name}: is in UTF-16 or UTF-32 without a mark; {_AS}")
        return _lines(content.decode("utf-8", "surrogateescape")), "utf-8"
    code = encoding or marked or "utf-8"
    try:
        lenient = "surrogateescape" if code == "utf-8-sig" else "strict"
        text = content.decode(code, lenient).removeprefix("\ufeff")
    except UnicodeError as error:
        raise InputError(f"{name}: is not in {code}: {error!s:.200}; {_AS}") from error
    return _lines(text), "utf-8" if code == "utf-8-sig" else code


def is_whole(line: str) -> bool:
    """Whether all bytes of a line could be decoded."""
    return line.isascii() or not _UNDECODED.search(line)


def shown(line: str) -> str:
    """A line as people can read it, with U+FFFD where bytes could not be decoded."""
    return _UNDECODED.sub("\ufffd", line)


def _lines(text: str) -> str:
    """One way to end a line; old spreadsheets end it with a carriage return alone."""
    return text.replace("\r", "\n") if "\r" in text and "\n" not in text else text
