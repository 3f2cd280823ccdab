"""What the documents name is there: paths, links, make targets, commands, modules, settings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel

from adrank.contracts.settings import Settings
from tests.support.import_graph import HOUSES, ROOT, ImportGraph

HOUSE = r"(?:dags|plugins|include|deploy|local|tests|benchmarks|docs)"
FILE = r"[\w-]+\.(?:py|sql|ya?ml|json|toml|md|csv|parquet)"
OUTSIDE = r"(?<![\w/.:<>-])"
#: Names of files in backticks that the repository need not hold: what people bring, and what stands in the lake.
ELSEWHERE = {
    "_MANIFEST.json",
    "adrank.zip",
    "ads.parquet",
    "control.json",
    "events.parquet",
    "export.csv",
    "model.tar.gz",
    "reason.json",
    "results.json",
    "verdict.json",
}


def documents() -> dict[str, str]:
    """Path -> text of all that is written for readers, the DAGs' docstrings among it."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    pages.append(ROOT / "local" / "localcloud" / "README.md")
    found = {str(path.relative_to(ROOT)): path.read_text() for path in pages}
    for path in sorted((ROOT / "dags").glob("*.py")):
        found[str(path.relative_to(ROOT))] = ast.get_docstring(ast.parse(path.read_text())) or ""
    return found


def untrue(path: str, text: str, graph: ImportGraph) -> list[str]:
    """What a document (path relative to the repository) names and nobody has, as readable lines."""
    checks = (_paths(text), _links(path, text), _files(text), _targets(text), _modules(text, graph), _settings(text))
    return [f"{path}: {wrong}" for check in checks for wrong in check]


def _spelled_out(pattern: str) -> list[str]:
    """``a/{b,c}`` is two paths."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if not braces:
        return [pattern]
    return [
        spelled
        for choice in braces.group(1).split(",")
        for spelled in _spelled_out(pattern[: braces.start()] + choice.strip() + pattern[braces.end() :])
    ]


def _paths(text: str) -> Iterator[str]:
    for found in re.findall(rf"{OUTSIDE}({HOUSE}/(?:[\w./<>*-]|\{{[\w,. ]*\}})*)", text):
        for path in _spelled_out(found.rstrip(".")):
            if not any(ROOT.glob(re.sub(r"<\w+>", "*", path).rstrip("/"))):
                yield f"path {path}"


def _slugs(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _links(path: str, text: str) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        page = (ROOT / path).parent / place if place else ROOT / path
        if not page.exists():
            yield f"link {target}"
        elif anchor and page.suffix == ".md" and anchor not in _slugs(page.read_text() if place else text):
            yield f"link {target}: no such heading"


def _spans(text: str) -> list[str]:
    """What stands in backticks, and lines of code."""
    fenced = "\n".join(re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`]+)`", outside)
    return [re.sub(r"\s+", " ", span) for span in spans] + [line.strip() for line in fenced.splitlines()]


def _files(text: str) -> Iterator[str]:
    names = {path.name for house in (*HOUSES, "docs", "benchmarks", "tests") for path in (ROOT / house).rglob("*.*")}
    names |= {path.name for path in ROOT.iterdir()}
    for span in _spans(text):
        if re.fullmatch(FILE, span) and span not in names | ELSEWHERE:
            yield f"file {span}"


def _targets(text: str) -> Iterator[str]:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for span in _spans(text):
        if named := re.match(r"make ([a-z]+)((?: [A-Z_]+=\S+)*)", span):
            if named.group(1) not in targets:
                yield f"make {named.group(1)}"
            for variable in re.findall(r"([A-Z_]+)=", named.group(2)):
                if f"$({variable})" not in makefile:
                    yield f"make's {variable}"


def _modules(text: str, graph: ImportGraph) -> Iterator[str]:
    tops = {module.split(".")[0] for module in graph.paths} - {"dags"}
    for command in re.findall(r"python -m ([\w.]+\w)", text):
        if command.split(".")[0] in tops and not _runs(command, graph):
            yield f"python -m {command}"
    for span in _spans(text):
        dotted = re.fullmatch(r"[a-z_]+(\.\w+)+", span) and span.split(".")[0] in tops
        if dotted and span not in ELSEWHERE and not re.fullmatch(FILE, span) and not _is_there(span, graph):
            yield f"name {span}"


def _runs(command: str, graph: ImportGraph) -> bool:
    if f"{command}.__main__" in graph.paths:
        return True
    return command in graph.paths and 'if __name__ == "__main__":' in (ROOT / graph.paths[command]).read_text()


def _is_there(name: str, graph: ImportGraph) -> bool:
    """Whether a dotted name is a module, or something that one defines."""
    module = graph.module(name)
    if module is None or module == name:
        return module is not None
    rest = name.removeprefix(f"{module}.").split(".")
    source = (ROOT / graph.paths[module]).read_text()
    return all(
        re.search(rf"^\s*(?:(?:def|class) {word}\b|{word}\b.*=|{word}: )", source, re.MULTILINE) for word in rest
    )


def _is_setting(names: list[str], model: type[BaseModel] = Settings) -> bool:
    """Whether section and field, or a field of the root, is a setting."""
    name, *rest = names
    if name not in model.model_fields:
        return False
    annotation = model.model_fields[name].annotation
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    inner = [kind for kind in kinds if issubclass(kind, BaseModel)]
    return not rest or (bool(inner) and _is_setting(rest, inner[0]))


def _settings(text: str) -> Iterator[str]:
    for variable in re.findall(r"\bADRANK_([A-Z][A-Z0-9_]*)", text):
        if not _is_setting(variable.lower().split("__")):
            yield f"setting ADRANK_{variable}"
    for span in _spans(text):
        section, _, field = span.partition(".")
        of_a_section = re.fullmatch(r"[a-z_]+", field) and section in {"events", "cdc", "billing", "audit", "gate"}
        if of_a_section and field not in ("csv", "parquet", "jsonl") and not _is_setting([section, field]):
            yield f"setting {span}"


@pytest.fixture(scope="module")
def graph() -> ImportGraph:
    return ImportGraph.of(*HOUSES, "benchmarks")


def test_what_the_documents_name_is_there(graph: ImportGraph) -> None:
    pages = documents()
    assert len(pages) > 20
    wrong = [line for path, text in pages.items() for line in untrue(path, text, graph)]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "see include/spark/nothing.py",
        "`include/{spark,nothing}/`",
        "in local/nothing/.",
        "`include/sql/nothing/<group>.sql`",
        "[there](adr/0000-nothing.md)",
        "[there](INGESTION.md#nothing)",
        "[here](#nothing)",
        "`deployments.py` says so",
        "`make nothing`",
        "`make demo NOTHING=1`",
        "```console\nmake nothing  # so\n```",
        "`python -m stack.publish`",
        "run python -m spark.lake.files.",
        "`ingestion.landing.nothing`",
        "`serving.router.event_log.Nothing`",
        "`ADRANK_LAKE__NOTHING`",
        "set ADRANK_NOTHING=1",
        "`events.nothing`",
    ],
)
def test_what_is_not_there_is_found(text: str, graph: ImportGraph) -> None:
    assert untrue("docs/PAGE.md", text, graph)


@pytest.mark.parametrize(
    "text",
    [
        "include/sql/features/<group>.sql, local/{stack,demo} and docs/adr/.",
        "[there](INGESTION.md#when-to-change-over-to-kafka-connect), [far](https://example.org/include/x)",
        "`make demo SEED=8`, or make an hour anew; `build/demo/report.html`, `s3://lake/include/x`",
        "`PYTHONPATH=include python -m deploy.publish`, `python -m build --wheel`",
        "`serving.router.event_log.EventLog`, `events.parquet`, `events.grace`",
        "`ADRANK_EXPERIMENT__SHARE=0.05`, `ADRANK_*`",
    ],
)
def test_what_is_there_is_not(text: str, graph: ImportGraph) -> None:
    assert not untrue("docs/PAGE.md", text, graph)
