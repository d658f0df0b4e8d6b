"""Users, passwords and keys in addresses: found, and hidden from what others may read."""

import re

_SECRET_KEY = re.compile(
    r"token|secret|signature|passw|credential|api[-_]?key|access[-_]?key|^(sig|key|auth)$", re.I
)
# A secret may hold slashes; what looks like one after `host:9000/` is a path.
_PASSWORD = re.compile(r"(\w://)([^/@\s\"']+|[^/@:\s\"']+:(?!\d+/)[^@\s\"']+)@")
_QUERY_KEY = re.compile(r"[?&]([^=&#\s]+)=")


def credential_in(value: str) -> str | None:
    """Say which credential an address holds, if any."""
    if "://" not in value:
        return None
    if _PASSWORD.search(value):
        return "a user or password"
    secret = next(filter(_SECRET_KEY.search, _QUERY_KEY.findall(value)), None)
    return f"a secret (`{secret}`)" if secret else None


def hide_credentials(text: str) -> str:
    """Blank out what stands before the host of any address in a text, and its query."""
    hidden = _PASSWORD.sub(r"\1***@", text)
    return re.sub(r"(\w://[^\s\"'?]*)\?[^\s\"']*", r"\1?***", hidden)
