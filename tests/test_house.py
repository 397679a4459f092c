"""The house rules that no linter checks by itself; run by `make check`."""

import ast
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

import grimp
import pytest

from modelkeep.alerts.rules import DEFAULT, parse
from modelkeep.extending import BUILT_IN, find
from modelkeep.workload import Workload

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "modelkeep"
FILES = sorted(SOURCE.rglob("*.py"))
STANDARD = {"types.py", "queue.py", "logging.py", "http.py", "json.py", "time.py", "select.py", "signal.py", "copy.py"}
BORDERS = {"a model's call", "a job's run", "a channel's send", "the edge"}


def code_lines(text: str) -> int:
    return sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))


@dataclass
class Known:
    """What a file says, of what the rules are about: lines and names, no nodes, which are many."""

    functions: list[tuple[int, str, int]] = field(default_factory=list)
    """The line, the name and the length of each."""
    classes: dict[str, list[str]] = field(default_factory=dict)
    """Their bases by name."""
    catching: list[int] = field(default_factory=list)
    """The lines that catch everything and do not pass it on."""
    imported: list[tuple[int, str]] = field(default_factory=list)


@cache
def known(path: Path) -> Known:
    """Each file is read once, whatever is asked of it."""
    found = Known()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.functions.append((node.lineno, node.name, (node.end_lineno or node.lineno) - node.lineno + 1))
        elif isinstance(node, ast.ClassDef):
            found.classes[node.name] = [base.id for base in node.bases if isinstance(base, ast.Name)]
        elif isinstance(node, ast.ImportFrom):
            found.imported.append((node.lineno, node.module or ""))
        elif isinstance(node, ast.ExceptHandler) and catches_everything(node):
            last = node.body[-1]
            if not (isinstance(last, ast.Raise) and last.exc is None):  # else it cleans up and passes it on
                found.catching.append(node.lineno)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert code_lines(text) <= 500, f"{path} is too long: split it by concern"
    for line, name, length in known(path).functions:
        assert length <= 60, f"{path}:{line} {name} has {length} lines"


def test_files_are_named_by_concern() -> None:
    for path in FILES:
        if path.parent == SOURCE:
            assert path.name not in STANDARD, f"{path} hides a module of the standard library"
        assert not re.search(r"manager|helper|utils|common|misc", path.stem), f"{path} says nothing"


def test_everything_is_caught_at_the_four_borders_only() -> None:
    found = set()
    for path in FILES:
        lines = path.read_text().splitlines()
        for line in known(path).catching:
            border = next((b for b in BORDERS if b in lines[line - 1].partition("#")[2]), None)
            assert border, f"{path}:{line} catches everything; the borders are {sorted(BORDERS)}"
            found.add(border)
    assert found == BORDERS


def catches_everything(handler: ast.ExceptHandler) -> bool:
    named = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(name is None or ast.unparse(name) in {"Exception", "BaseException"} for name in named)


def test_own_inheritance_is_at_most_two_levels_deep() -> None:
    parents: dict[str, list[str]] = {}
    for path in FILES:
        parents |= known(path).classes

    def depth(name: str) -> int:
        return 1 + max((depth(parent) for parent in parents[name] if parent in parents and parent != name), default=0)

    errors = {"ModelkeepError", "Refused", "Unavailable"}  # the tree of errors is drawn in its file and may be deeper
    deep = {name for name in parents if depth(name) > 2 and not any(e in parents[name] for e in errors)}
    assert deep <= {"BadFeatures"}


def test_modules_import_each_other_in_one_direction() -> None:
    graph = grimp.build_graph("modelkeep", cache_dir=None, exclude_type_checking_imports=True)
    seen: dict[str, int] = {}

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"cycle: {' > '.join((*trail[trail.index(module) :], module))}"
        if module in seen:
            return
        for imported in graph.find_modules_directly_imported_by(module):
            visit(imported, (*trail, module))
        seen[module] = 1

    for module in graph.modules:
        visit(module, ())


def test_product_names_no_machine_and_no_registry() -> None:
    kept = r"files\.pythonhosted(?!\.org/packages/\w\w/\w\w/)"  # an address that names its content is fine
    hidden = re.compile(r"/(home|Users|work)/[a-z]|index.url|pypi\.org|" + kept)
    for path in [*FILES, *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*.txt"), *ROOT.glob("tools/*")]:
        if path.is_file():
            hit = hidden.search(path.read_text(errors="replace"))
            assert not hit, f"{path} names {hit.group(0) if hit else ''}"


def test_versions_of_every_requirement_are_locked_with_hashes() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text().splitlines()
        for line, following in pairwise([*lines, ""]):
            if re.match(r"^[a-z0-9]", line):
                assert "==" in line, f"{name}: {line} is not pinned"
                assert "--hash=sha256:" in following, f"{name}: {line} has no hash"


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_a_built_in_workload_adds_is_told_on_its_page(name: str) -> None:
    found = find(name)
    assert isinstance(found, Workload)
    if not found.operations:
        pytest.skip(f"{name} has no acts yet")
    page = ROOT / "docs" / "workloads" / f"{name}.md"
    text = page.read_text() if page.exists() else ""
    rules = parse(found.rules, source=name, known=DEFAULT) if found.rules else ()
    own = [rule for rule in rules if rule not in DEFAULT]
    told = [f"{operation.method} {operation.path}" for operation in found.operations]
    told += [*(rule.name for rule in own), *(rule.reading for rule in own)]
    missing = sorted({f"`{what}`" for what in told if f"`{what}`" not in text})
    assert not missing, f"docs/workloads/{name}.md does not tell of {', '.join(missing)}"


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_workload_uses_the_public_face_alone_and_is_cheap_to_import(name: str) -> None:
    """Importing it must not bring in what only training or serving needs: it happens at every start."""
    for path in sorted((SOURCE / "workloads" / name).rglob("*.py")):
        for line, module in known(path).imported:
            if module.startswith("modelkeep."):
                assert module.startswith(f"modelkeep.workloads.{name}"), f"{path}:{line} {module}"
    assert not brought()[name], f"importing the workload {name} imports {', '.join(brought()[name])}"


BRINGING = """
import os, sys
import modelkeep.app, modelkeep.operations
from modelkeep.extending import find
heavy = {"numpy", "lightgbm", "sklearn", "duckdb", "skops", "scipy", "PIL", "pandas", "mlflow"}
before = set(sys.modules)
for name in sys.argv[1:]:
    if not os.fork():
        find(name)
        print(name, *sorted((set(sys.modules) - before) & heavy), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, name
"""


@cache
def brought() -> dict[str, list[str]]:
    """What heavy libraries each workload brings along into a process that has the product and no other workload."""
    done = subprocess.run([sys.executable, "-c", BRINGING, *BUILT_IN], capture_output=True, text=True, check=True)
    return {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
