"""The demo's data: docstrings of installed libraries, summary as query and body as passage.

Real text on every machine, without a download. Libraries describe the same operation in many
places (a frame and a lazy frame, an alias and its target), so false negatives come naturally.

Sources are parsed, not imported: quick, without side effects, and the same whatever hardware or
optional package is there. The price: docstrings that are put together at import are left out.
"""

import ast
import importlib.metadata
import importlib.util
import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import xxhash

from polymine.data_contracts.errors import InputError
from polymine.tasks.sources.demo_text import passage_of

VERSION = 2  # raise it when the same libraries come to give other tables

# Prose-rich parts of libraries that Polymine installs anyway, all in the numpydoc style.
PARTS = (
    "numpy/lib", "numpy/linalg", "numpy/fft", "numpy/_core/fromnumeric.py",
    "numpy/_core/numeric.py", "numpy/polynomial/polynomial.py", "numpy/polynomial/chebyshev.py",
    "scipy/optimize", "scipy/signal", "scipy/interpolate", "scipy/spatial/distance.py",
    "scipy/linalg", "scipy/stats/_stats_py.py", "scipy/cluster",
    "sklearn/cluster", "sklearn/metrics", "sklearn/linear_model", "sklearn/preprocessing",
    "sklearn/decomposition", "sklearn/model_selection", "sklearn/ensemble",
    "polars/dataframe", "polars/lazyframe", "polars/expr", "polars/series",
    "pandas/core/frame.py", "pandas/core/series.py", "pandas/core/generic.py",
    "pandas/core/strings", "pandas/core/groupby",
    "networkx/algorithms",
    "matplotlib/axes", "matplotlib/pyplot.py", "matplotlib/figure.py",
)  # fmt: skip
PASSAGES = 1_500  # enough for hard negatives, few enough to embed on two cores in a minute
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def docstring_tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Make documents, queries and judgments (one positive each) of docstrings.

    Ids are dotted paths without private parts, as `numpy.linalg.qr`; all text is English. The
    same installed versions give the same tables. Raises InputError if none of the libraries is
    installed.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, docstring in _docstrings():
        if name not in found and (parted := passage_of(docstring)):
            found[name] = parted
    if not found:
        raise InputError("demo:docstrings: none of its libraries is installed in this environment")
    names = sorted(sorted(found, key=_draw)[:PASSAGES])
    queries = [f"q-{name}" for name in names]
    english = pl.lit("en")
    return (
        pl.DataFrame({"doc_id": names, "text": [found[name][1] for name in names]}).with_columns(
            title=pl.lit(None, pl.String), language=english, group_id=pl.lit(None, pl.String)
        ),
        pl.DataFrame(
            {"query_id": queries, "text": [found[name][0] for name in names]}
        ).with_columns(language=english, group_id=pl.lit(None, pl.String)),
        pl.DataFrame({"query_id": queries, "doc_id": names}).with_columns(
            relevance=pl.lit(1, pl.Int8)
        ),
    )


def demo_versions() -> dict[str, str]:
    """Versions of what the demo's data depend on: its own and those of the libraries."""
    libraries = sorted({part.split("/")[0] for part in PARTS})
    versions = {"demo": f"{VERSION}", "passages": f"{PASSAGES}"}
    for library in libraries:
        try:
            versions[library] = importlib.metadata.version(_DISTRIBUTIONS.get(library, library))
        except importlib.metadata.PackageNotFoundError:
            versions[library] = "absent"
    return versions


def _draw(name: str) -> tuple[int, str]:
    """Order in which passages are drawn: by the last part of the name, so that what is called
    alike in several places, and may well say the same, is drawn together."""
    return xxhash.xxh3_64_intdigest(name.rpartition(".")[2].encode()), name


def _docstrings() -> Iterator[tuple[str, str]]:
    for part in PARTS:
        library, _, inside = part.partition("/")
        spec = importlib.util.find_spec(library)
        for place in spec.submodule_search_locations or () if spec else ():
            root = Path(place) / inside
            for path in [root] if root.suffix == ".py" else sorted(root.rglob("*.py")):
                parts = path.relative_to(Path(place).parent).with_suffix("").parts
                if path.is_file() and "tests" not in parts:
                    # What a private module holds is found in the package around it.
                    module = list(itertools.takewhile(lambda name: name[0] != "_", parts))
                    yield from _of_body(ast.parse(path.read_bytes()).body, module)


def _of_body(body: list[ast.stmt], path: list[str]) -> Iterator[tuple[str, str]]:
    """Docstrings of the public functions, methods and classes of a module or class body."""
    documented: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _of_body(node.body, [*path, node.name])
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            if text := ast.get_docstring(node, clean=False):
                documented.setdefault(node.name, inspect.cleandoc(text))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            for target in node.targets:  # an alias says what its target says
                if isinstance(target, ast.Name) and node.value.id in documented:
                    documented.setdefault(target.id, documented[node.value.id])
    for name, text in documented.items():
        if not name.startswith("_"):
            yield ".".join([*path, name]), text
