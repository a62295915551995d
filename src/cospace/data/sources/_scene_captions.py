"""What words say about a scene: captions written from it, and a checker that reads a caption against it.

The language is small and exact. Every caption names every thing with its size, colour and shape, so it is true only
of scenes with exactly those things. ``above`` means straight above, in the same column; anything slanted is a
diagonal (``above and to the left of``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ._scene_world import COLOURS, DIAMETERS, SHAPES, Dice, Scene, Thing

Direction = tuple[int, int]
"""Rows down and columns right, each -1, 0 or 1."""

_DIRECTIONS: dict[Direction, tuple[str, ...]] = {
    (-1, 0): ("above", "over"),
    (1, 0): ("below", "under"),
    (0, -1): ("to the left of", "left of"),
    (0, 1): ("to the right of", "right of"),
    (-1, -1): ("above and to the left of", "to the upper left of"),
    (-1, 1): ("above and to the right of", "to the upper right of"),
    (1, -1): ("below and to the left of", "to the lower left of"),
    (1, 1): ("below and to the right of", "to the lower right of"),
}
_PLACES: tuple[tuple[str, ...], ...] = (
    ("in the top left", "in the top left corner"),
    ("in the top middle", "at the top in the middle"),
    ("in the top right", "in the top right corner"),
    ("in the middle left", "on the left in the middle"),
    ("in the centre", "in the middle"),
    ("in the middle right", "on the right in the middle"),
    ("in the bottom left", "in the bottom left corner"),
    ("in the bottom middle", "at the bottom in the middle"),
    ("in the bottom right", "in the bottom right corner"),
)
_OPENINGS = ("", "", "there is ", "a picture of ", "the picture shows ")


def captions(scene: Scene, dice: Dice) -> list[str]:
    """Three true captions: every thing placed, every thing related, and one placed with the others around it."""
    return [write(scene.things, dice) for write in (_placed, _related, _anchored)]


def holds(scene: Scene, caption: str) -> bool:
    """Whether a caption is true of a scene; words outside the language make it false."""
    described = _read(caption)
    if described is None or len(described.mentions) != len(scene.things):
        return False
    by_kind = {(thing.colour, thing.shape): thing for thing in scene.things}
    things = [by_kind.get((mention.colour, mention.shape)) for mention in described.mentions]
    named = [thing for thing in things if thing is not None]
    if len(set(named)) < len(scene.things):
        return False
    return all(
        mention.size == thing.size and mention.cell in (None, thing.cell)
        for mention, thing in zip(described.mentions, named, strict=True)
    ) and all(direction(named[a], named[b]) == way for a, way, b in described.relations)


def direction(of: Thing, seen_from: Thing) -> Direction:
    """Where one thing lies as seen from another."""
    return _sign(of.row - seen_from.row), _sign(of.column - seen_from.column)


def place(thing: Thing) -> str:
    """A thing's cell in words, without the preposition: ``top left``, ``centre``."""
    return _PLACES[thing.cell][0].removeprefix("in the ")


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


# --- writing


def _placed(things: Sequence[Thing], dice: Dice) -> str:
    order = dice.shuffled(things)
    if dice.below(3) == 0:
        return _listed([f"{_where(thing, dice)} is {_full(thing)}" for thing in order])
    return dice.choice(_OPENINGS) + _listed([f"{_full(thing)} {_where(thing, dice)}" for thing in order])


def _related(things: Sequence[Thing], dice: Dice) -> str:
    first, second, *rest = dice.shuffled(things)
    form = dice.below(2)
    opening, verb = ("", " is") if dice.below(3) == 0 else (dice.choice(_OPENINGS), "")
    text = f"{opening}{_full(first)}{verb} {_way(first, second, dice)} {_full(second)}"
    for third in rest:
        if form == 0:
            text += f" and {_way(first, third, dice)} {_full(third)}"
        else:
            known = dice.choice((first, second))
            text += f", and {_full(third)}{verb} {_way(third, known, dice)} the {known.colour} {known.shape}"
    return text


def _anchored(things: Sequence[Thing], dice: Dice) -> str:
    anchor, *rest = dice.shuffled(things)
    text = f"{dice.choice(_OPENINGS)}{_full(anchor)} {_where(anchor, dice)}, "
    if dice.below(2) == 0:
        return text + " and ".join(f"{_way(anchor, thing, dice)} {_full(thing)}" for thing in rest)
    return text + "with " + " and ".join(f"{_full(thing)} {_way(thing, anchor, dice)} it" for thing in rest)


def _full(thing: Thing) -> str:
    return f"a {thing.size} {thing.colour} {thing.shape}"


def _where(thing: Thing, dice: Dice) -> str:
    return dice.choice(_PLACES[thing.cell])


def _way(of: Thing, seen_from: Thing, dice: Dice) -> str:
    return dice.choice(_DIRECTIONS[direction(of, seen_from)])


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + " and " + parts[-1]


# --- reading


@dataclass(slots=True)
class _Mention:
    size: str
    colour: str
    shape: str
    cell: int | None = None


@dataclass(slots=True)
class _Described:
    """What a caption states; a relation ``(a, way, b)`` says that mention ``a`` lies that way from mention ``b``."""

    mentions: list[_Mention] = field(default_factory=list)
    relations: list[tuple[int, Direction, int]] = field(default_factory=list)


def _longest_first(phrases: Sequence[str]) -> str:
    """Alternatives for a pattern, so that ``above and to the left of`` is not read as ``above``."""
    return "|".join(sorted(phrases, key=len, reverse=True))


_WAY_OF = {phrase: way for way, phrases in _DIRECTIONS.items() for phrase in phrases}
_CELL_OF = {phrase: cell for cell, phrases in enumerate(_PLACES) for phrase in phrases}
_KIND = f"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
_TOKEN = re.compile(
    rf"\b(?:(?P<thing>a (?:{'|'.join(DIAMETERS)}) {_KIND})|(?P<known>the {_KIND}|it)"
    rf"|(?P<fronted>{_longest_first(list(_CELL_OF))})(?= is )|(?P<place>{_longest_first(list(_CELL_OF))})"
    rf"|(?P<way>{_longest_first(list(_WAY_OF))}))\b"
)
_BETWEEN = re.compile(r"(,? (and |with |is )?)?")
_OPENING = re.compile(f"(?:{'|'.join(opening for opening in _OPENINGS if opening)})?")


def _tokens(text: str) -> list[tuple[str, str]] | None:
    """Kinds and texts of the phrases, or ``None`` where something else stands between them."""
    tokens = []
    end = _OPENING.match(text).end()  # type: ignore[union-attr]
    for match in _TOKEN.finditer(text, end):
        if not _BETWEEN.fullmatch(text, end, match.start()):
            return None
        end = match.end()
        tokens.append((str(match.lastgroup), match.group()))
    return tokens if end == len(text) else None


def _read(caption: str) -> _Described | None:
    """The statements of a caption, or ``None`` if it is not a sentence of the language."""
    tokens = _tokens(caption.strip().lower().removesuffix("."))
    if not tokens:
        return None
    reader = _Reader()
    understood = all(reader.take(kind, text) for kind, text in tokens)
    return reader.described if understood and reader.way is None and reader.leading is None else None


@dataclass(slots=True)
class _Reader:
    """Takes phrases from left to right.

    A thing that no direction leads to becomes the subject, of which the following directions speak. A place belongs
    to the thing named last, or to the next one where ``is`` follows it.
    """

    described: _Described = field(default_factory=_Described)
    subject: int | None = None
    way: Direction | None = None
    leading: int | None = None

    def take(self, kind: str, text: str) -> bool:
        """Whether the phrase makes sense here."""
        match kind:
            case "thing":
                size, colour, shape = text.split()[1:]
                self.described.mentions.append(_Mention(size, colour, shape, self.leading))
                self.leading = None
                return self._arrive(len(self.described.mentions) - 1)
            case "known":
                return self._arrive(self._find(text))
            case "way":
                fits = self.subject is not None and self.way is None
                self.way = _WAY_OF[text]
                return fits
            case "fronted":
                fits = self.leading is None and self.way is None
                self.leading = _CELL_OF[text]
                return fits
            case _:
                return self._put(_CELL_OF[text])

    def _put(self, cell: int) -> bool:
        """Place the thing named last, once."""
        fits = bool(self.described.mentions) and self.described.mentions[-1].cell is None and self.way is None
        if fits:
            self.described.mentions[-1].cell = cell
        return fits

    def _find(self, text: str) -> int | None:
        """The mention that ``it`` (the first) or ``the red circle`` refers back to."""
        kinds = [f"the {mention.colour} {mention.shape}" for mention in self.described.mentions]
        if text == "it":
            return 0 if kinds else None
        return kinds.index(text) if text in kinds else None

    def _arrive(self, mention: int | None) -> bool:
        """Close the open relation at this mention, or let the mention be the new subject."""
        if mention is None:
            return False
        if self.way is None:
            self.subject = mention
        elif self.subject is None or self.subject == mention:
            return False
        else:
            self.described.relations.append((self.subject, self.way, mention))
            self.way = None
        return True
