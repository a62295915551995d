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
    service | api
    commands
    runs
    evaluators
    training | evaluation | stores | interop
    models | objectives | data
    modalities
    prefetch | columns | ranks
    config | runtime | tensors | matches
    arrays
    files
    reading | trust | filenames | stopping | locks
    types
"""
LEVEL = {
    name: level
    for level, line in enumerate(reversed(LAYERS.strip().splitlines()))
    for name in line.replace("|", " ").split()
}
NOT_CODE = {"recipes"}
"""Folders of data: named by path, never imported."""

FILE_LINES, FUNCTION_LINES, PARAMETERS = 400, 40, 7
USUAL_LINES = 20
"""Nine functions of ten have no more."""

WAYS_TO_BYTES = {
    "reading.py": {"fdopen", "os.open"},
    "filenames.py": {"os.open"},
    "files.py": {"open", "os.open"},
    "locks.py": {"os.open", "read_text"},
    "runtime.py": {"open", "read_text"},
}
"""Files that may open a file themselves: the one way for all others, what writes, and what asks the system."""

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
            known = target in {"", "__version__"} and own in {"cli", "service", "commands", "runs", "__main__"}
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


@parametrize_files
def test_files_of_others_are_read_by_one_way_and_in_lines_that_are_lines(path: Path) -> None:
    """``open`` waits for pipes and never ends on devices; ``splitlines`` cuts captions at U+2028; see ``reading``."""
    found = set()
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        writes = any(isinstance(one, ast.Constant) and one.value in ("w", "wb", "a", "ab") for one in ast.walk(node))
        name = called.rpartition(".")[2]
        if name == "splitlines" or (name in ("read_bytes", "read_text") and not _ours(called, node)):
            found.add(name)
        if (
            called in ("open", "os.open", "path.open", "self.path.open")
            and not writes
            and "ab" not in ast.unparse(node)
        ):
            found.add(called)
    assert not found - WAYS_TO_BYTES.get(path.name, set()), "read it with cospace.reading"


def _ours(called: str, node: ast.Call) -> bool:
    """Whether it is the function of ``reading``, which takes a path, or reads a file of the package."""
    return called in ("read_bytes", "read_text") or "__package__" in called or "PAGE" in called


def test_an_import_that_points_up_is_found_wherever_it_hides(tmp_path: Path) -> None:
    hidden = {
        "from ..commands.train import train": 1,
        "def f():\n    from cospace.training import fit": 1,
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..models.space import Space": 1,
        "import cospace.models.encoders.vit": 1,
        "from .. import models": 1,
        "from .. import mystery": 1,
        "from ..config import PartConfig\nfrom ..types import Pair\nfrom . import average\nimport torch": 0,
    }
    (tmp_path / "objectives").mkdir()
    for number, (source, count) in enumerate(hidden.items()):
        path = tmp_path / "objectives" / f"bad{number}.py"
        path.write_text(source)
        assert len(uphill(path, tmp_path)) == count, source


# ------------------------------------------------------------------------------------------------ cycles


def module_name(path: Path, package: Path = SRC) -> str:
    """``cospace.data.pairs`` of ``data/pairs.py``; a folder's own name for its ``__init__.py``."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(("cospace", *(part for part in parts if part != "__init__")))


def loaded(path: Path, package: Path = SRC) -> Iterator[str]:
    """What importing a file imports: names at module level, those for type checkers left out."""
    here = ("cospace", *path.relative_to(package).with_suffix("").parts)
    waiting: list[ast.stmt] = list(tree(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom):
            base = ".".join(here[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.If):
            waiting += node.orelse if "TYPE_CHECKING" in ast.unparse(node.test) else [*node.body, *node.orelse]
        elif isinstance(node, ast.Try | ast.With | ast.ClassDef):
            waiting += node.body


def import_graph(package: Path = SRC) -> dict[str, set[str]]:
    """For every module the modules of the package that it imports when it is imported."""
    files = {module_name(path, package): path for path in sorted(package.rglob("*.py"))}
    return {
        name: files.keys() & {full if full in files else full.rpartition(".")[0] for full in loaded(path, package)}
        for name, path in files.items()
    }


def strongly_connected(graph: dict[str, set[str]]) -> list[set[str]]:
    """The sets of nodes that reach each other (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            place = stack.index(node)
            found.append(set(stack[place:]))
            del stack[place:]

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_no_imports_go_round_in_a_circle() -> None:
    graph = import_graph()
    assert [sorted(group) for group in strongly_connected(graph) if len(group) > 1] == []
    assert [name for name, imports in graph.items() if name in imports] == [], "nothing imports itself"
    assert graph["cospace.commands.train"] >= {"cospace.runs.settings", "cospace.files"}, "it does see imports"


def test_a_circle_is_found_and_one_for_type_checkers_is_none(tmp_path: Path) -> None:
    sources = {
        "a.py": "from .b import f",
        "b.py": "from . import c",
        "c.py": "try:\n    from cospace.a import g\nexcept ImportError:\n    g = None",
        "d.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .e import E",
        "e.py": "from .d import D\ndef later():\n    from .a import f",
    }
    for name, source in sources.items():
        (tmp_path / name).write_text(source)
    circles = [group for group in strongly_connected(import_graph(tmp_path)) if len(group) > 1]
    assert circles == [{"cospace.a", "cospace.b", "cospace.c"}]


# ------------------------------------------------------------------------------------------------ modalities

MADE_OF_MODALITIES = re.compile(r"(modalities|interop|recipes)/|data/sources/(scenes|glyphs|vqa|_scene_\w+)\.py$")
"""Where a modality may be named: what is known of it, other libraries' models of it, and data sets made of it."""

LOOK_UPS = {"get", "pop", "setdefault", "startswith", "endswith", "removeprefix", "removesuffix"}


def modality_questions(path: Path, names: frozenset[str]) -> list[str]:
    """Comparisons, membership tests and look-ups with the name of a modality that is written out."""

    def named(node: ast.AST | None) -> bool:
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return any(map(named, node.elts))
        if isinstance(node, ast.Dict):
            return any(map(named, node.keys))
        return isinstance(node, ast.Constant) and node.value in names

    found = []
    for node in ast.walk(tree(path)):
        asks = (
            (isinstance(node, ast.Compare) and any(map(named, (node.left, *node.comparators))))
            or (isinstance(node, ast.Subscript) and not is_annotation(node) and named(node.slice))
            or (isinstance(node, ast.MatchValue) and named(node.value))
            or (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LOOK_UPS
                and any(map(named, node.args[:1]))
            )
        )
        if asks:
            found.append(f"{path.name}:{node.lineno} {ast.unparse(node)}")
    return found


def is_annotation(node: ast.Subscript) -> bool:
    """``Literal["image"]`` names a type and asks nothing."""
    return ast.unparse(node.value) in {"Literal", "typing.Literal"}


@parametrize_files
def test_no_modality_is_asked_for_by_name(path: Path) -> None:
    from cospace import modalities

    if not MADE_OF_MODALITIES.match(path.relative_to(SRC).as_posix()):
        assert modality_questions(path, frozenset(modalities.names())) == []


def test_a_question_for_a_modality_is_found_wherever_it_hides(tmp_path: Path) -> None:
    hidden = {
        'if name == "image":\n    pass': 1,
        'found = name in ("audio", "text")': 1,
        'found = "image" not in pairs.items': 1,
        'space.encoders["text"]': 1,
        'items.get("image")': 1,
        'key.startswith("image")': 1,
        'match name:\n    case "audio":\n        pass': 1,
        'def f(pairs=(("image", "text"),)): ...': 0,
        'modality: str = "image"': 0,
        'space.embed(text=["a bus"])': 0,
        'items["images"]': 0,
        'name: Literal["image"]': 0,
    }
    for number, (source, count) in enumerate(hidden.items()):
        path = tmp_path / f"asks{number}.py"
        path.write_text(source)
        assert len(modality_questions(path, frozenset({"audio", "image", "text"}))) == count, source


# ------------------------------------------------------------------------------------------------ the command line


def test_every_argument_of_every_command_has_a_help_text() -> None:
    from cospace.cli import app

    verbs = [app[name] for name in app if not name.startswith("-")]
    assert len(verbs) >= 13
    silent = []
    for verb in verbs:
        assert verb.help, f"{verb.name} says nothing of itself"
        arguments = verb.assemble_argument_collection()
        assert len(arguments), verb.name
        silent += [
            f"{verb.name[0]} {argument.name}" for argument in arguments if not argument.parameter.help and argument.show
        ]
    assert silent == []


# ------------------------------------------------------------------------------------------------ importing


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


def test_most_functions_are_short() -> None:
    lengths = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[int(0.9 * len(lengths))] <= USUAL_LINES


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
    """But one: what other people's decoders raise is the item's fault, and no job's."""
    attempts = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef) and node.name == "attempted"]
    spared = {id(inner) for node in attempts if path.name == "types.py" for inner in ast.walk(node)}
    for node in (node for node in ast.walk(tree(path)) if id(node) not in spared):
        if isinstance(node, ast.ExceptHandler):
            caught = "" if node.type is None else ast.unparse(node.type)
            blind = node.type is None or re.search(r"\b(Base)?Exception\b", caught)
            passed_on = isinstance(node.body[-1], ast.Raise)
            assert not blind or passed_on, f"{path.name}:{node.lineno} catches everything; name what it can handle"


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
