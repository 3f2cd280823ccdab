"""What the repository's Python files import of each other, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Directories that are on the path; the others are packages themselves.
_PATH = ("include", "plugins", "local")
HOUSES = ("dags", "plugins", "include", "deploy", "local")


@dataclass(frozen=True)
class Import:
    """One imported name; ``lazy`` when it stands inside a function, or in an ``if TYPE_CHECKING`` (``typing``)."""

    name: str
    line: int
    lazy: bool
    typing: bool = False

    @property
    def top(self) -> str:
        return self.name.split(".")[0]


def is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def imports(source: str, package: str = "") -> Iterator[Import]:
    """Every name that a module imports; relative ones are resolved against ``package``."""

    def visit(node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(name.name, node.lineno, lazy, typing)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from adrank import decisions` imports adrank.decisions.
            yield from (Import(f"{module}.{name.name}", node.lineno, lazy, typing) for name in node.names)
        else:
            typing = typing or _is_typing(node)
            lazy = lazy or typing or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, lazy, typing)

    yield from visit(ast.parse(source), False, False)


def _is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def files(*houses: str) -> list[Path]:
    """Python files below these directories of the repository."""
    return [
        path for house in houses for path in sorted((ROOT / house).rglob("*.py")) if "node_modules" not in path.parts
    ]


def module_of(path: str) -> str:
    """The module that a file is (path relative to the repository); a package's ``__init__`` is the package."""
    parts = Path(path).with_suffix("").parts
    parts = parts[1:] if parts[0] in _PATH else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(path: str) -> str:
    """The package against which a file's relative imports are resolved."""
    module = module_of(path)
    return module if Path(path).stem == "__init__" else module.rpartition(".")[0]


class ImportGraph:
    """Modules and what they import, of each other and of others. ``sources``: path -> text."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.paths = {module_of(path): path for path in sources}
        self._imports = {module_of(path): tuple(imports(text, package_of(path))) for path, text in sources.items()}

    @classmethod
    @cache
    def of(cls, *houses: str) -> ImportGraph:
        """Of all files below these directories; read once in a run."""
        return cls({str(path.relative_to(ROOT)): path.read_text() for path in files(*houses)})

    def imports(self, module: str) -> tuple[Import, ...]:
        return self._imports[module]

    def module(self, name: str) -> str | None:
        """The module of ours that an imported name is, or is in."""
        while name and name not in self.paths:
            name = name.rpartition(".")[0]
        return name or None

    def closure(self, modules: Iterable[str]) -> set[str]:
        """These modules and all of ours that running them may import, packages around them included."""
        seen: set[str] = set()
        waiting = [loaded for module in modules for loaded in self._with_packages(module)]
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                met = (self.module(statement.name) for statement in self.imports(module) if not statement.typing)
                waiting += [loaded for name in met if name for loaded in self._with_packages(name)]
        return seen

    def _with_packages(self, module: str) -> Iterator[str]:
        parts = module.split(".")
        yield from (name for n in range(len(parts)) if (name := ".".join(parts[: n + 1])) in self.paths)

    def circles(self) -> list[list[str]]:
        """Groups of modules that import each other at module level. A package's own modules may import the package."""
        edges = {
            module: {
                target
                for statement in self.imports(module)
                if not statement.lazy and (target := self.module(statement.name)) and target != module
            }
            for module in self.paths
        }
        found: list[list[str]] = []
        reach = {module: self._reached(module, edges) for module in edges}
        placed: set[str] = set()
        for module in edges:
            if module not in placed and module in reach[module]:
                circle = sorted(other for other in reach[module] if module in reach[other])
                placed |= set(circle)
                found.append(circle)
        return found

    @staticmethod
    def _reached(start: str, edges: Mapping[str, set[str]]) -> set[str]:
        seen: set[str] = set()
        waiting = list(edges[start])
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += edges[module]
        return seen
