"""What a Python file defines, documents and imports, read through `ast` and never run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from .model import Code, Definition, Import, Outline, Problem

UNDOCUMENTED_MAX = 200
HEAVY_MAX = 12
IMPORTS_MAX = 300
HEAVY_LINES = 100
HEAVY_BRANCHES = 25
UNDOCUMENTED_DECORATORS = frozenset({"overload", "setter", "deleter", "override"})
BRANCHES = (ast.If, ast.For, ast.While, ast.AsyncFor, ast.ExceptHandler, ast.IfExp, ast.BoolOp, ast.comprehension)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def outline_python(text: str) -> Outline:
    """Functions, classes, docstrings, imports; a file that does not parse keeps its lines and says where it fails."""
    lines = len(text.splitlines())
    try:
        module = ast.parse(text)
    except SyntaxError as error:
        return _unparsed(lines, error.lineno or 1, f"It does not parse: {error.msg}.")
    except (ValueError, RecursionError, MemoryError) as error:
        return _unparsed(lines, 1, f"It does not parse: {str(error) or type(error).__name__}.")
    definitions = list(_definitions(module.body, "", public=True))
    functions: list[tuple[str, Function]] = [
        (name, node) for name, node, _ in definitions if not isinstance(node, ast.ClassDef)
    ]
    public = [(name, node) for name, node, is_public in definitions if is_public and _wants_docstring(node)]
    bare = [_definition(name, node) for name, node in public if not ast.get_docstring(node, clean=False)]
    title = (ast.get_docstring(module) or "").strip().split("\n")[0]
    if not title and public:
        bare.insert(0, Definition(1, "the module", lines))
    code = Code(
        functions=len(functions),
        classes=len(definitions) - len(functions),
        public=len(public) + bool(public),
        documented=len(public) + bool(public) - len(bare),
        undocumented=bare[:UNDOCUMENTED_MAX],
        heavy=_heavy(functions),
        imports=sorted(_imports(module), key=lambda each: (each.line, each.module, each.name))[:IMPORTS_MAX],
        script=any(_runs_as_script(node) for node in module.body),
    )
    return Outline("python", lines=lines, title=title[:200], code=code)


def _unparsed(lines: int, line: int, message: str) -> Outline:
    return Outline("python", lines=lines, problems=[Problem(line, "syntax-error", message)])


def _definitions(
    body: list[ast.stmt], prefix: str, *, public: bool
) -> Iterator[tuple[str, Function | ast.ClassDef, bool]]:
    """Definitions of a module or class, with dotted names; what is inside a function is nobody's interface."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            is_public = public and not node.name.startswith("_")
            yield prefix + node.name, node, is_public
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, f"{prefix}{node.name}.", public=is_public)
        elif isinstance(node, ast.If | ast.Try):
            yield from _definitions([*node.body, *node.orelse], prefix, public=public)


def _wants_docstring(node: Function | ast.ClassDef) -> bool:
    """Overloads and property setters are told by the definition they belong to."""
    return not any(_last_name(decorator) in UNDOCUMENTED_DECORATORS for decorator in node.decorator_list)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _definition(name: str, node: Function | ast.ClassDef) -> Definition:
    return Definition(node.lineno, name[:120], (node.end_lineno or node.lineno) - node.lineno + 1)


def _heavy(functions: list[tuple[str, Function]]) -> list[Definition]:
    measured: list[Definition] = []
    for name, node in functions:
        found = _definition(name, node)
        if found.lines < HEAVY_BRANCHES:  # hardly room for so many branches, and the walk is the dearest thing here
            continue
        branches = sum(isinstance(each, BRANCHES) for each in ast.walk(node))
        if found.lines >= HEAVY_LINES or branches >= HEAVY_BRANCHES:
            measured.append(Definition(found.line, found.name, found.lines, branches))
    return sorted(measured, key=lambda each: (-each.lines, each.line))[:HEAVY_MAX]


def _imports(module: ast.Module) -> Iterator[Import]:
    for node, deferred in _statements(module.body):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, "", 0, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module_name = node.module or ""
            yield from (Import(node.lineno, module_name, alias.name, node.level, deferred) for alias in node.names)


def _statements(body: Iterable[ast.stmt]) -> Iterator[tuple[ast.stmt, bool]]:
    """All statements without their expressions, and whether each stands in a function or under a condition."""
    waiting = [(node, False) for node in body]
    while waiting:
        node, deferred = waiting.pop()
        yield node, deferred
        inner_deferred = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If)
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            for inner in getattr(node, field, ()):
                if isinstance(inner, ast.stmt):
                    waiting.append((inner, inner_deferred))
                else:  # a handler of an exception or a case of a match: a condition too
                    waiting.extend((statement, True) for statement in inner.body)


def _runs_as_script(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)
