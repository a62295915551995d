"""From files in folders, on a disk or in a tar, to rows. One set of rules for both:

1. A picture that shares its name with a caption file (``a/1.jpg`` and ``a/1.txt``) is paired with its captions. Once
   there is one such picture, pictures without captions and captions without pictures are problems.
2. Otherwise, if every picture lies in some folder and these are at least two, the folder a picture lies in is its
   class: the caption is the folder's name with spaces for underscores, and the extra ``label`` is that name.
3. Otherwise the pictures have no captions: rows for an index, not for training.

By rules 2 and 3 a text file is no caption, so that a ``README.txt`` does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ..types import Problem, UserError
from . import Rows


@dataclass(slots=True)
class Layout:
    """Pictures and captions by stem: a file's path without its suffix, which is what makes partners."""

    name: str
    """Of the folder or archive, for messages."""
    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Stem to file name to raw item; more than one name for a stem is a duplicate."""
    captions: dict[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add_picture(self, stem: str, name: str, item: Any) -> None:
        """``name`` is the whole path, unique within the layout."""
        self.pictures.setdefault(stem, {})[name] = item

    def rows(self) -> Rows:
        """Rows by the rules above, in the order of the names. Raises :class:`UserError` when there is no picture."""
        if not self.pictures:
            raise UserError(f"{self.name} holds no pictures; give an image folder, tar shards or a table")
        if self.pictures.keys() & self.captions.keys():
            return self._captioned()
        files = dict(sorted(file for files in self.pictures.values() for file in files.items()))
        parents = [PurePosixPath(name).parent for name in files]
        rows = Rows(list(files), {"image": list(files.values())}, problems=self.problems)
        if len(set(parents)) > 1 and all(parent.name for parent in parents):
            labels = [parent.name for parent in parents]
            rows.items["text"] = [label.replace("_", " ") for label in labels]
            rows.extras["label"] = labels
        return rows

    def _captioned(self) -> Rows:
        rows = Rows([], {"image": [], "text": []}, problems=self.problems)
        for stem in sorted(self.captions.keys() - self.pictures.keys()):
            self.problems.append(Problem(stem, "missing picture", "the caption has no picture beside it"))
        for stem, files in sorted(self.pictures.items()):
            if len(files) > 1:
                reason = f"{' and '.join(sorted(files))} share one name, so the caption's picture is not certain"
                self.problems.append(Problem(stem, "duplicate name", reason))
            elif stem not in self.captions:
                self.problems.append(Problem(stem, "missing caption", f"{next(iter(files))} has no caption beside it"))
            for number, caption in enumerate(self.captions.get(stem, []) if len(files) == 1 else [], start=1):
                rows.ids.append(f"{stem}#{number}")
                rows.items["image"].append(next(iter(files.values())))
                rows.items["text"].append(caption)
        return rows
