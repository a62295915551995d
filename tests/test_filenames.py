"""Parts of paths as text, as pathlib has them."""

from __future__ import annotations

from pathlib import PurePosixPath

from hypothesis import example, given
from hypothesis import strategies as st

from cospace.filenames import folder_of, name_of, suffix_of

PATHS = st.lists(st.text("ab.é 0\udce9", min_size=1, max_size=6).filter(lambda part: part != "."), min_size=1).map(
    "/".join
)


@given(PATHS)
@example("a.tar.gz")
@example("a/.hidden")
@example("a/b.")
@example("a/..b")
@example("folder.x/b")
def test_parts_of_a_path_are_those_of_pathlib(path: str) -> None:
    plain = PurePosixPath(path)
    assert (name_of(path), suffix_of(path), folder_of(path)) == (plain.name, plain.suffix, plain.parent.name)
