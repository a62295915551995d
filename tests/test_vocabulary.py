"""The words: a reader of the field learns no private language here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRIVATE = re.compile(
    r"teller|tell|tells|telling|told|lessons?|sayings?|remarks?|companions?|deceptions?|claims?|claimed|paces?|twins?|looks|"
    r"feeds?|homes|borrowed|borrows|adopting|adopts|guarded|ahead|board|meter|gate|begun|matrix_rate|coarse|trim|trimmed|"
    r"blend|blended|commonest|captions? true|answers? right|Before|Home"
)
"""Words that once stood for samples seen, tasks, generators, image-text matching and so on; docs/glossary.md has the
field's. The last two are names of classes, and common words in lower case."""

ALLOWED = (
    r"\.trim\(\)",  # of JavaScript
    r"malloc_trim",  # of the GNU C library
    r"\.tell\(\)",  # of files
    r"pointer: coarse",  # of CSS
    r"gl\.(?:BLEND|blendFunc)",  # of WebGL
    r"insertBefore",  # of the DOM
    r"TensorBoard",
    r"\bHome\b(?=[ :\"\]]|\\.)",  # the key of a keyboard
    r"[Tt]rimmed loss \(Shen and Sanghavi 2019\)|trimmed loss \(Shen and Sanghavi 2019\)",  # its name in the paper
    r"Path\.home\(\)",
    r"^Before |(?<=[.!?:*(|] )Before\b|(?<=\")Before\b|>Before\b",  # the first word of a sentence
)

FILES = [
    path
    for pattern in ("src/cospace/**/*", "docs/**/*.md", "*.md", "benchmarks/README.md")
    for path in sorted(ROOT.glob(pattern))
    if path.suffix in (".py", ".js", ".html", ".css", ".md") and path.name != "old_runs.py"
]
"""All but the table that converts runs whose settings had the old names."""


def private(text: str) -> list[str]:
    """The private words of a text: alone, or as a part of a name in snake case or camel case."""
    for allowed in ALLOWED:
        text = re.sub(allowed, " ", text, flags=re.MULTILINE)
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).replace("_", " ").replace("matrix rate", "matrix_rate")
    ordinary = re.sub(r"\b(?!Before|Home)([A-Z])", lambda match: match[1].lower(), split)
    return [match[0] for match in re.finditer(rf"\b(?:{PRIVATE.pattern})\b", ordinary)]


def test_the_search_finds_what_it_is_for() -> None:
    assert private("the begun_rate of class Teller, ImageFeeds and tell_all") == ["begun", "teller", "feeds", "tell"]
    assert private("text.trim() before recall@5, a keyboard, tensorboard, the home folder") == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_private_word_is_left(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    found = [f"{path.name}:{number}: {words} in {line.strip()[:100]}"
             for number, line in enumerate(lines, start=1) if (words := private(line))]  # fmt: skip
    assert not found, "\n".join(found)
