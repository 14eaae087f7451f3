"""How the files of a root hang together: who imports or links to whom, what is central, orphaned, large or circular."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import networkx as nx

from .links import Atlas, linked_paths
from .model import Finding, Import, Measure, Profile, Standing, Structure
from .order import by_place
from .quality import is_test

CENTRAL_MAX = 25
LARGEST_MAX = 10
LARGE_LINES = 1500
CYCLE_NAMED = 6
DAMPING = 0.85
ROUNDS = 40
ENTRANCES = (
    "readme",
    "changelog",
    "license",
    "contributing",
    "index",
    "security",
    "code_of_conduct",
    "agents",
    "claude",
)


def analyse(profiles: Iterable[Profile], atlas: Atlas) -> Structure:
    """Build the graph of links and imports and read off what stands out."""
    ordered = sorted(profiles, key=lambda each: each.path)
    graph = graph_of(ordered, atlas)
    ranks = rank(graph)
    standings = [
        Standing(path, round(value, 4), graph.in_degree(path), graph.out_degree(path))
        for path, value in sorted(ranks.items(), key=lambda item: (-round(item[1], 9), item[0]))
    ]
    findings = sorted([*_large(ordered), *_orphaned(ordered, graph), *_cycles(ordered)], key=by_place)
    largest = sorted(ordered, key=lambda each: (-each.outline.lines, -each.document.size, each.path))[:LARGEST_MAX]
    return Structure(
        largest=[Measure(each.path, each.outline.lines, each.document.size) for each in largest],
        central=[standing for standing in standings if standing.used_by][:CENTRAL_MAX],
        ranks={standing.path: standing.rank for standing in sorted(standings, key=lambda each: each.path)},
        findings=findings,
        edges=graph.number_of_edges(),
    )


def graph_of(profiles: list[Profile], atlas: Atlas) -> nx.DiGraph[str]:
    """An edge from each file to every file of the root that it imports or links to."""
    modules = modules_of(profiles)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(profile.path for profile in profiles)
    for profile in profiles:
        targets = {*linked_paths(profile, atlas), *(target for target, _ in _imported(profile, modules))}
        graph.add_edges_from((profile.path, target) for target in sorted(targets - {profile.path}))
    return graph


def modules_of(profiles: list[Profile]) -> dict[str, str]:
    """Module name to path: by the place below the root, and below `src` or `lib` where code lies there."""
    modules: dict[str, str] = {}
    for profile in profiles:
        if profile.outline.kind == "python":
            parts = list(PurePosixPath(profile.document.name).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            modules.setdefault(".".join(parts), profile.path)
            if parts[:1] in (["src"], ["lib"]):
                modules.setdefault(".".join(parts[1:]), profile.path)
    modules.pop("", None)
    return modules


def _imported(profile: Profile, modules: dict[str, str]) -> Iterator[tuple[str, Import]]:
    package = PurePosixPath(profile.document.name).parent.parts
    for each in profile.outline.code.imports if profile.outline.code else []:
        for name in _candidates(each, package):
            if name in modules:
                yield modules[name], each
                break


def _candidates(each: Import, package: tuple[str, ...]) -> Iterator[str]:
    """What `from module import name` may mean: a module, or a name inside one; then the packages around it."""
    base = list(package[: len(package) - each.level + 1]) if each.level else []
    names = [*base, *(each.module.split(".") if each.module else [])]
    if each.name:
        yield ".".join([*names, each.name])
    while names:
        yield ".".join(names)
        names.pop()


def rank(graph: nx.DiGraph[str]) -> dict[str, float]:
    """PageRank, scaled so that the first has 1. Own, because networkx does it with numpy."""
    nodes = sorted(graph)
    if not nodes:
        return {}
    value = dict.fromkeys(nodes, 1.0)
    sources = {node: sorted(graph.predecessors(node)) for node in nodes}
    weight = {node: 1.0 / max(1, graph.out_degree(node)) for node in nodes}
    for _ in range(ROUNDS):
        value = {
            node: 1 - DAMPING + DAMPING * sum(value[source] * weight[source] for source in sources[node])
            for node in nodes
        }
    highest = max(value.values())
    return {node: value[node] / highest for node in nodes}


def _large(profiles: list[Profile]) -> Iterator[Finding]:
    for profile in profiles:
        lines = profile.outline.lines
        if lines >= LARGE_LINES and profile.outline.kind in ("python", "markdown") and not is_test(profile.path):
            code = profile.outline.code
            parts = f", {code.classes} classes and {code.functions} functions" if code else ""
            yield Finding(profile.path, 1, "large-file", "improve", f"One file of {lines} lines{parts}.")


def _orphaned(profiles: list[Profile], graph: nx.DiGraph[str]) -> Iterator[Finding]:
    for profile in profiles:
        if graph.in_degree(profile.path) or is_test(profile.path):
            continue
        name = PurePosixPath(profile.document.name)
        if profile.outline.kind == "markdown" and not name.stem.lower().startswith(ENTRANCES):
            yield Finding(profile.path, 1, "orphan", "improve", "No other document links to it.")
        code = profile.outline.code
        entrance = name.stem in ("__init__", "__main__", "setup", "conf") or (code is not None and code.script)
        if code and code.functions + code.classes and not entrance:
            yield Finding(profile.path, 1, "orphan", "note", "No other file here imports it.")


def _cycles(profiles: list[Profile]) -> Iterator[Finding]:
    """Files that need each other while they are loaded; imports inside functions and conditions break a circle."""
    modules = modules_of(profiles)
    needs = {
        profile.path: {path: each.line for path, each in _imported(profile, modules) if not each.deferred}
        for profile in profiles
        if profile.outline.code and not is_test(profile.path)
    }
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_edges_from(
        (path, other) for path in needs for other in sorted(needs[path]) if other != path and other in needs
    )
    circles = [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1]
    for circle in sorted(circles):
        first, *others = circle
        line = min(line for other, line in needs[first].items() if other in others)
        shown = ", ".join(others[:CYCLE_NAMED]) + (
            f" and {len(others) - CYCLE_NAMED} more" if len(others) > CYCLE_NAMED else ""
        )
        message = f"It needs, and is needed by, {shown} when it is loaded."
        yield Finding(first, line, "import-cycle", "improve", message, count=len(others), related=others[:30])
