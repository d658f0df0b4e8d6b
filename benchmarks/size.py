"""Measures the code itself: lines, functions, rooms, docstrings, start-up; no figure is typed in.

A line is a line of the file, blank ones and comments included. A function's length counts its
docstring. Rooms are the packages of `tasks`; a floor is a step of the longest chain of imports.
"""

import ast
import inspect
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median, quantiles

from benchmarks.processes import table
from benchmarks.wheel import LAYERS, ROOT, measure_wheel

BESIDE = ("benchmarks", "robustness", "shipped", "tests")  # not in the wheel

Function = ast.FunctionDef | ast.AsyncFunctionDef


def files_of(layer: str, *kinds: str) -> list[Path]:
    """Files of a layer; empty ones, and what `polymine/` only links to, do not count."""
    found: list[Path] = []
    for folder, folders, names in os.walk(ROOT / layer):  # does not follow links
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [Path(folder, name) for name in names if name.endswith(kinds or (".py", ".j2"))]
    return sorted(path for path in found if path.stat().st_size)


def lines_of(path: Path) -> int:
    """Lines of a file, as `wc -l` counts them."""
    return path.read_bytes().count(b"\n")


@cache
def functions_of(path: Path) -> list[Function]:
    """Every function of a file, methods and inner ones too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def measure_lines() -> Iterator[list[str]]:
    """A row a layer: lines, files, the median and the longest file, functions."""
    yield ["layer", "lines", "py", "j2", "files", "median", "longest file", "functions"]
    groups = {layer: files_of(layer) for layer in LAYERS}
    product = [path for paths in groups.values() for path in paths]
    for name, paths in [*groups.items(), ("product", product), *((b, files_of(b)) for b in BESIDE)]:
        python = [path for path in paths if path.suffix == ".py"]
        lines = {path: lines_of(path) for path in paths}
        total = sum(lines.values())
        yield [
            f"**{name}**" if name == "product" else name,
            f"{total:,}",
            f"{sum(lines[path] for path in python):,}",
            f"{total - sum(lines[path] for path in python):,}",
            str(len(paths)),
            f"{median(lines.values()):.0f}",
            f"{max(lines.values())} {max(lines, key=lines.__getitem__).relative_to(ROOT)}",
            str(sum(len(functions_of(path)) for path in python)),
        ]


def longest_functions(folders: tuple[str, ...] = LAYERS) -> list[tuple[int, str]]:
    """Lines and name of every function, the longest first."""
    return sorted(
        (
            (node.end_lineno or node.lineno) - node.lineno + 1,
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}",
        )
        for folder in folders
        for path in files_of(folder, ".py")
        for node in functions_of(path)
    )[::-1]


def public_functions() -> list[tuple[Function, str]]:
    """Public functions of the core with their docstring; methods of public classes too."""
    found: list[tuple[Function, str]] = []
    for path in files_of("polymine", ".py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        bodies = [tree.body, *(node.body for node in classes if not node.name.startswith("_"))]
        found += [
            (node, ast.get_docstring(node) or "")
            for body in bodies
            for node in body
            if isinstance(node, Function) and not node.name.startswith("_")
        ]
    return found


def takes_arguments(node: Function) -> bool:
    """Whether there is a parameter beside `self`."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return any(argument.arg not in ("self", "cls") for argument in given)


def returns_value(node: Function) -> bool:
    """Whether the signature names a result."""
    return node.returns is not None and ast.unparse(node.returns) != "None"


def share(part: int, whole: int) -> str:
    """A share with the numbers it comes from."""
    return f"{part / max(whole, 1):.0%} ({part} of {whole})"


def measure_docstrings() -> Iterator[list[str]]:
    """How deep the docstrings of the core go."""
    public = public_functions()
    yield ["public functions of the core", "share"]
    yield ["with a docstring", share(sum(bool(doc) for _, doc in public), len(public))]
    takers = [doc for node, doc in public if takes_arguments(node)]
    yield ["that take arguments, with Args", share(sum("Args:" in d for d in takers), len(takers))]
    makers = [doc for node, doc in public if returns_value(node)]
    described = sum("Returns:" in doc for doc in makers)
    yield ["that return something, with Returns", share(described, len(makers))]
    yield ["with an example", share(sum(">>>" in doc for _, doc in public), len(public))]
    door = front_door()
    yield ["front door, with an example", share(sum(">>>" in doc for doc in door), len(door))]


def front_door() -> list[str]:
    """Docstrings of what `polymine` itself offers, and of the methods of its classes."""
    import polymine

    offered = [getattr(polymine, name) for name in getattr(polymine, "__all__", ())]
    methods = [
        member
        for each in offered
        if inspect.isclass(each)
        for name, member in vars(each).items()
        if not name.startswith("_") and (callable(member) or isinstance(member, property))
    ]
    named = [each for each in [*offered, *methods] if callable(each) or isinstance(each, property)]
    return [inspect.getdoc(each) or "" for each in named]


def import_floors(package: str = "polymine.tasks") -> tuple[dict[str, int], list[str]]:
    """Each room's floor by what it imports, counted from 1, and a circle of modules if any.

    Imports within functions count. A room of one module is a room.
    """
    import grimp

    graph = grimp.build_graph("polymine", include_external_packages=False)
    rooms = sorted(graph.find_children(package))
    inside = {room: {room, *graph.find_descendants(room)} for room in rooms}
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    reached = {room: set().union(*(imports[m] for m in inside[room])) for room in rooms}
    needs = {
        room: {other for other in rooms if other != room and reached[room] & inside[other]}
        for room in rooms
    }
    floors: dict[str, int] = {}
    for room in circle_or_order(needs)[1]:
        floors[room] = 1 + max((floors[below] for below in needs[room]), default=0)
    names = {room.removeprefix(f"{package}."): floor for room, floor in floors.items()}
    return names, circle_or_order(imports)[0]


def circle_or_order(needs: dict[str, set[str]]) -> tuple[list[str], list[str]]:
    """A circle if there is one; otherwise an order in which each comes after what it needs."""
    try:
        return [], list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        return list(error.args[1]), []


def stage_routines() -> list[str]:
    """Functions that look for a dataset (`find()`) before it is made and committed."""
    found = []
    store = ROOT / "tasks" / "store"  # whose own methods are no stage
    for path in files_of("tasks", ".py"):
        for node in functions_of(path) if store not in path.parents else ():
            calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
            if any(
                isinstance(call.func, ast.Attribute)
                and call.func.attr == "find"
                and not (call.args or call.keywords)
                for call in calls
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    return found


def median_seconds(*command: str, times: int = 5) -> float:
    """Median wall time of a command after one call that fills the caches."""
    seconds = []
    for _ in range(times + 1):
        began = time.monotonic()
        subprocess.run(command, check=True, capture_output=True, cwd=tempfile.gettempdir())
        seconds.append(time.monotonic() - began)
    return median(seconds[1:])


def main() -> None:
    """Print every figure."""
    print(table(list(measure_lines())))
    lengths = longest_functions()
    p50, p90 = (quantiles([n for n, _ in lengths], n=10)[at] for at in (4, 8))
    print(f"\nfunctions of the product: p50 {p50:.0f}, p90 {p90:.0f}, max {lengths[0][0]}")
    print("\n".join(f"  {lines} {name}" for lines, name in lengths[:5]))
    floors, circle = import_floors()
    print(f"\nrooms of tasks: {len(floors)} on {max(floors.values(), default=0)} floors", floors)
    print("import circle:", " -> ".join(circle) or "none")
    routines = stage_routines()
    print(f"the stage routine stands {len(routines)} times")
    print("\n".join(f"  {name}" for name in routines))
    print("\n" + table(list(measure_docstrings())))
    print("\n" + table(list(measure_wheel())))
    polymine = str(Path(sys.executable).parent / "polymine")
    print(f"\npolymine --help: {median_seconds(polymine, '--help'):.2f} s")
    print(f"import polymine: {median_seconds(sys.executable, '-c', 'import polymine'):.2f} s")


if __name__ == "__main__":
    main()
