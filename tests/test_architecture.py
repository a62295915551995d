"""The house rules that a machine can hold: imports point down, nothing is long, nothing is dangerous."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "cospace"
ROOT = SRC.parents[1]
FILES = sorted(SRC.rglob("*.py"))

# A line may import from the lines below it, and a folder from itself; siblings on one line do not know each other.
LAYERS = """
    __main__
    cli
    service | terminal | terminal_pictures
    experiment
    training | evaluation | stores | interop
    fusion
    space
    encoders | objectives | batches | check | ahead
    pairs | preprocess | layers | tokens | augment | calibration
    config | runtime | files | tensors
    types
"""
LEVEL = {
    name: level
    for level, line in enumerate(reversed(LAYERS.strip().splitlines()))
    for name in line.replace("|", " ").split()
}
NOT_CODE = {"recipes"}
"""Folders of data: named by path, never imported."""

FILE_LINES, FUNCTION_LINES, PARAMETERS = 400, 45, 7
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "legacy", "v2", "custom"}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}

parametrize_files = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))


def part_of(path: Path) -> str:
    """The word of the table that a file belongs to: its folder, or its own name."""
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imported(path: Path, package: Path = SRC) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of every import in a file, wherever it stands."""
    here = ("cospace", *path.relative_to(package).with_suffix("").parts)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def uphill(path: Path, package: Path = SRC) -> list[str]:
    """The imports of a file that do not point down the table."""
    own = path.relative_to(package).parts[0].removesuffix(".py")
    wrong = []
    for line, name in imported(path, package):
        top, *rest = name.split(".")
        target = rest[0] if rest else ""
        if top != "cospace" or target == own:
            continue
        if target not in LEVEL:
            known = target in {"", "__version__"} and own in {"cli", "service", "experiment", "__main__"}
            if not known:
                wrong.append(f"{path.name}:{line} imports {name}, which is not in the table")
        elif LEVEL[target] >= LEVEL[own]:
            wrong.append(f"{path.name}:{line} imports {name}, which is not below {own}")
    return wrong


def test_every_part_has_its_line_in_the_table() -> None:
    parts = {part_of(path) for path in FILES} - NOT_CODE - {"__init__"}
    assert parts <= LEVEL.keys(), f"give these a line in LAYERS: {sorted(parts - LEVEL.keys())}"


@pytest.mark.parametrize("path", [path for path in FILES if part_of(path) not in NOT_CODE | {"__init__"}], ids=str)
def test_imports_point_down(path: Path) -> None:
    assert uphill(path) == []


def test_an_import_that_points_up_is_found_wherever_it_hides(tmp_path: Path) -> None:
    hidden = {
        "from ..experiment import Experiment": 1,
        "def f():\n    from cospace.training import fit": 1,
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..space import Space": 1,
        "import cospace.encoders.vit": 1,
        "from .. import space": 1,
        "from .. import mystery": 1,
        "from ..config import PartConfig\nfrom ..types import Pair\nfrom . import average\nimport torch": 0,
    }
    (tmp_path / "objectives").mkdir()
    for number, (source, count) in enumerate(hidden.items()):
        path = tmp_path / "objectives" / f"bad{number}.py"
        path.write_text(source)
        assert len(uphill(path, tmp_path)) == count, source


def test_importing_the_package_loads_no_heavy_library() -> None:
    program = (
        "import sys, cospace\n"
        "assert set(cospace.__all__) <= set(dir(cospace)), 'dir() hides public names'\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pyarrow', 'matplotlib', 'pydantic', 'tokenizers'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_every_public_name_can_be_had() -> None:
    import cospace

    assert [name for name in cospace.__all__ if getattr(cospace, name, None) is None] == []
    with pytest.raises(AttributeError, match="no_such_name"):
        cospace.no_such_name  # noqa: B018


@parametrize_files
def test_files_fit_in_the_head(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= FILE_LINES, f"{path.name} has {lines} lines; split it by what it is about"


@parametrize_files
def test_functions_fit_on_a_screen(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assert node.end_lineno is not None
        lines = node.end_lineno - node.lineno + 1
        assert lines <= FUNCTION_LINES, f"{path.name}:{node.lineno} {node.name} has {lines} lines"
        count = len(parameters(node))
        assert count <= PARAMETERS, f"{path.name}:{node.lineno} {node.name} has {count} parameters"


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Names of a function's parameters, ``self`` and ``cls`` left out.

    A command of the command line has as many as it has options: what is annotated with ``Annotated`` does not count.
    """
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    options = {argument.arg for argument in given if is_option(argument.annotation)}
    return [argument.arg for argument in given if argument.arg not in options | {"self", "cls"}]


def is_option(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated"


@parametrize_files
def test_names_say_something(path: Path) -> None:
    words = {word for name in path.relative_to(SRC).with_suffix("").parts for word in name.strip("_").split("_")}
    assert not words & FORBIDDEN_NAMES, "name the file after what it does"


@parametrize_files
def test_no_handler_swallows_everything(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            caught = "" if node.type is None else ast.unparse(node.type)
            blind = node.type is None or re.search(r"\b(Base)?Exception\b", caught)
            assert not blind, f"{path.name}:{node.lineno} catches everything; name what can be handled here"


@parametrize_files
def test_no_pickle_is_ever_read(path: Path) -> None:
    modules = {name.split(".")[0] for _, name in imported(path) if name != "pickle.UnpicklingError"}
    assert not modules & PICKLES
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            safe = call == "torch.load" and any(word.arg == "weights_only" for word in node.keywords)
            banned = call in {"torch.load", "torch.save", "eval", "exec"} and not safe
            assert not banned, f"{path.name}:{node.lineno} calls {call}"
            loose = [word for word in node.keywords if word.arg in {"allow_pickle", "trust_remote_code"}]
            assert all(ast.unparse(word.value) == "False" for word in loose), f"{path.name}:{node.lineno}"
            weights = [word for word in node.keywords if word.arg == "weights_only"]
            assert all(ast.unparse(word.value) == "True" for word in weights), f"{path.name}:{node.lineno}"


@parametrize_files
def test_importing_a_file_does_nothing(path: Path) -> None:
    """Statements at module level define things; a bare call is work that an import would do."""
    if path.name == "__main__.py":
        return  # run, not imported
    for node in tree(path).body:
        bare = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        assert not bare, f"{path.name}:{node.lineno} calls something when it is imported"
        assert not isinstance(node, ast.For | ast.While | ast.With | ast.Global), f"{path.name}:{node.lineno}"


PAPERS_AND_LICENCES = re.compile(r"https?://(www\.)?(arxiv\.org|doi\.org|apache\.org|scripts\.sil\.org|w3\.org)/")
LOCAL = re.compile(
    r"https?://([^/\s]*@)?([\w%-]*|[\d.]+|\[[^\]]*\]?|\{\w+\}|[\w.-]*\.?example(\.com|\.org)?)"
    r"(:[\d{}a-z]*)?([/{]|$)"
)
"""Names that no network resolves: bare numbers, single words, and what is reserved for examples."""
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(root|work|opt|srv|mnt|home|Users)/\w")
INVENTED = re.compile(r"/(mnt|home|Users)/")
"""What tests may name: somebody's folder that does not exist."""
SKIPPED = {".git", ".venv", "dist", "build", "__pycache__"}


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the project that a person or a tool wrote."""
    suffixes = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".css", ".html", ".js", ".json", ".sh", ".cfg", ""}
    tracked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(tracked, cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0") if listed.returncode == 0 else [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")]
    for path in (ROOT / name for name in names if name):
        if path.is_file() and path.suffix in suffixes and not SKIPPED & set(path.relative_to(ROOT).parts):
            yield path, path.read_text("utf-8", errors="replace")


def test_the_tree_names_no_machine_and_no_address() -> None:
    found = []
    for path, text in texts():
        if path == Path(__file__).resolve():
            continue
        for number, line in enumerate(text.splitlines(), 1):
            addresses = [
                match.group()
                for match in re.finditer(r"https?://[^\s)\"'>`]+", line)
                if not PAPERS_AND_LICENCES.match(match.group()) and not LOCAL.match(match.group())
            ]
            paths = [match.group() for match in MACHINE_PATH.finditer(line)]
            if "tests" in path.relative_to(ROOT).parts:
                paths = [name for name in paths if not INVENTED.match(name)]
            found += [f"{path.relative_to(ROOT)}:{number} {what}" for what in addresses + paths]
    assert found == []
