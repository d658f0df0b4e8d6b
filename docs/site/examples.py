"""Shows the examples of docstrings as code: without a heading of their own they read as quotes."""

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)


class Examples(Extension):
    """Fences the lines of each example."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            fenced = EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
            obj.docstring.value = fenced
