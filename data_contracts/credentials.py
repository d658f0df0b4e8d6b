"""Users, passwords and keys in addresses: found, and hidden from what others may read.

A value that is an address is judged as a whole, for a password may hold any sign, spaces and quotes
too; it is refused and not repeated. In a text nobody can tell where an address ends, so there a
line loses more than the password rather than less: all up to its last `@`, and of each word what
looks like parameters.
"""

import re
from urllib.parse import unquote

# Where a user begins, in what ends with an `@`. A secret may hold slashes; what looks like one
# after `host:9000/` is a path. In a text a colon may end a clause, and a quote an address.
_SIX = r"(?!\[[\da-fA-F:.]+\][:/])"  # an address of IPv6, whose colons tell of no user
_USER = re.compile(rf"://{_SIX}(?:[^/:]*:(?!\d+/)|[^/]*@)")
_USER_IN_TEXT = re.compile(rf"://{_SIX}(?:[^/:\s\"']*:(?!\d*[/\s])|[^/\s\"']*@)")
_PARAMETER = re.compile(r"[?&;#]([^=?&;#]+)=")
_SECRET_KEY = re.compile(
    r"token|secret|signature|credential|passw|pwd|jwt|bearer|auth(?!ors?$)|session([-_]?(id|key))?$"
    r"|(access|account|api|functions|master|private|shared|sign|signing|storage|subscription)[-_]?key"
    r"|^(key|sig|sas|code|pass|pw)$",
    re.I,
)


def credential_in(value: str) -> str | None:
    """Say which credential an address holds, if any."""
    if "://" not in value:
        return None
    if _USER.search(value, 0, value.rfind("@") + 1):
        return "a user or password"
    keys = map(unquote, _PARAMETER.findall(value))
    secret = next(filter(_SECRET_KEY.search, keys), None)
    return f"a secret (`{secret}`)" if secret else None


def hide_credentials(text: str) -> str:
    """Blank out what stands before the host of any address in a text, and its parameters."""
    lines = "\n".join(map(_without_user, text.split("\n")))
    return re.sub(r"[^\s\"']+", _without_parameters, lines)


def _without_user(line: str) -> str:
    last = line.rfind("@")
    found = _USER_IN_TEXT.search(line, 0, last + 1)
    return f"{line[: found.start()]}://***{line[last:]}" if found else line


def _without_parameters(word: re.Match[str]) -> str:
    scheme, _, rest = word[0].partition("://")
    place, *found = re.split("([?;#])", rest, maxsplit=1)
    if not found or (found[0] != "?" and not re.search("[=?]", found[1])):  # a sign in a name
        return word[0]
    return f"{scheme}://{place}{found[0]}***"
