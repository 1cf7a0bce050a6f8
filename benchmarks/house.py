"""The house in numbers: modules a folder, lines, longest function, floors of rooms, circles of files; of
several checkouts side by side.

    python benchmarks/house.py . ../before

A room is a folder of the package (or, where all lies in one folder, that folder). A floor is how many rooms
lie below one. Lazy and type-only imports count; tests and benchmarks do not.
"""

import argparse
import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from record import measured

PARTS = ("mtclip_edge", "train", "export")
Graph = dict[str, set[str]]


def files_of(checkout: Path) -> dict[str, Path]:
    """Every module by its dotted name; the links in the package are not followed."""
    paths = [path for part in PARTS for path in (checkout / part).rglob("*.py") if not path.is_symlink()]
    paths = [path for path in paths if not any(parent.is_symlink() for parent in path.parents)]
    return {name_of(path.relative_to(checkout)): path for path in [*paths, checkout / "cli.py"]}


def name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    parts = parts if parts[0] == "mtclip_edge" else ("mtclip_edge", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(name: str, path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """The modules of ours that one imports, wherever in the file."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = (
                ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            )
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield from (target for target in (f"{module}.{alias.name}", module) if target in modules)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)


def graph_of(modules: Mapping[str, Path]) -> Graph:
    """Who imports whom; the package's own face is left out: it hands names on."""
    arrows = {
        name: set(imports(name, path, modules)) - {name, "mtclip_edge"} for name, path in modules.items()
    }
    return {name: targets for name, targets in arrows.items() if name != "mtclip_edge"}


def circles(graph: Graph) -> list[list[str]]:
    """Groups of more than one that reach each other (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            groups.extend([sorted(group)] if len(group) > 1 else [])

    for node in graph:
        if node not in index:
            visit(node)
    return groups


def floors(graph: Graph) -> int:
    """The longest way down, in nodes; of a graph with circles each counts as one node once."""
    floors: dict[str, int] = {}

    def height(node: str, above: frozenset[str]) -> int:
        if node not in floors:
            below = [height(target, above | {node}) for target in graph.get(node, ()) if target not in above]
            floors[node] = 1 + max(below, default=0)
        return floors[node]

    return max(height(node, frozenset()) for node in graph)


def rooms_of(graph: Graph) -> Graph:
    """The same for folders: every module is its folder's."""
    rooms: Graph = {}
    for name, targets in graph.items():
        rooms.setdefault(room_of(name), set()).update(room_of(target) for target in targets)
    return {room: targets - {room} for room, targets in rooms.items()}


def room_of(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[:2])


def functions(modules: Mapping[str, Path]) -> list[tuple[int, str]]:
    """Lines of every function, signature and docstring included, the longest first."""
    trees = ((name, ast.walk(ast.parse(path.read_text(encoding="utf-8")))) for name, path in modules.items())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    lengths = [
        ((n.end_lineno or 0) - n.lineno + 1, f"{name}.{n.name}")
        for name, nodes in trees
        for n in nodes
        if isinstance(n, kinds)
    ]
    return sorted(lengths, reverse=True)


def row(checkout: Path) -> str:
    modules = files_of(checkout)
    graph = graph_of(modules)
    folders = Counter(path.parent for path in modules.values() if path.name != "__init__.py")
    lengths = functions(modules)
    cells = [
        checkout.resolve().name,
        len(modules),
        max(folders.values()),
        sum(len(path.read_text(encoding="utf-8").splitlines()) for path in modules.values()),
        f"{lengths[0][0]} ({lengths[0][1].rpartition('.')[2]})",
        sorted(length for length, _ in lengths)[len(lengths) // 2],
        floors(graph),
        floors(rooms_of(graph)),
        len(circles(graph)),
    ]
    return f"| {' | '.join(map(str, cells))} |"


HEADINGS = (
    "checkout",
    "modules",
    "in one folder",
    "lines",
    "longest function",
    "median",
    "floors of files",
    "floors of rooms",
    "circles of files",
)


def measure(options: argparse.Namespace) -> None:
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    for checkout in options.checkouts:
        print(row(checkout))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", type=Path, nargs="+")
    measured(parser, measure)
