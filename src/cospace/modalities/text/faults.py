"""Captions that teach nothing or harm: in a broken encoding, full of markup, cut off, in another language, empty talk.

Everything here is about single captions, each counted once; how often one occurs is a matter of rows.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from .. import ItemFinding
from .boilerplate import boilerplate
from .encodings import mend
from .languages import wrong_language
from .tokenizer import LENGTH
from .words import FUNCTION_WORDS

Texts = Sequence[str | None]
"""The different captions of a data set; nothing where a caption has no row any more."""

CLIP = 77
"""Tokens that a text tower of CLIP reads, with those for its beginning and its end."""

MARKED = 0.5
"""Share of a caption's letters in addresses from which on they are what it says; a sign with an address is less."""

LOST = 0.8
"""How sure it is that a question mark inside a word stands for a lost letter; the words of the set were looked at."""

_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}\d{0,2}|#\d{2,6}|#[xX][0-9a-fA-F]{2,5});")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
"""Control characters but tabs and line ends, marks of byte order, halves of characters."""
_QUESTION = re.compile(r"[^\W\d_]{1,30}(?:\?[a-zß-ÿ]{1,30}){1,5}(?!\w|=)")
_ASKING = frozenset({"what", "why", "how", "who", "where", "when", "which", "really", "right", "is", "are"})
_ENDINGS = frozenset({"s", "t", "d", "m", "ll", "re", "ve"})
"""What follows an apostrophe, which many encodings lack too."""
_UNUSUAL = re.compile(r"[^\t\n\r\x20-\x7e]|&[#a-zA-Z]|\w\?[a-z]")
"""What a caption without any fault of its encoding seldom has; all others are done with after one search."""

_TAGS = (
    "a|abbr|b|big|blockquote|body|br|button|center|code|del|div|em|font|form|h[1-6]|head|hr|html|i|iframe|img|input|"
)
_TAGS += "label|li|link|meta|ol|option|p|pre|script|small|span|strike|strong|style|sub|sup|table|tbody|td|th|tr|tt|u|ul"
_TAG = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>|<!--.{{0,2000}}?-->", re.IGNORECASE | re.DOTALL)
"""Of HTML alone: ``<person>`` and the like stand for names in published sets of captions, ``<3`` for a heart."""
_MARKDOWN = re.compile(
    r"!?\[[^\[\]]*\]\((?:https?:|www\.|/|\.|#|mailto:)?[^()\s]*\)|\*\*(?=\w)[^*]+\*\*|```|\A#{1,6} (?!of )(?=[^\W\d_])"
)
_E_MAIL = r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
_SITE = r"(?:[\w-]{1,63}\.){1,8}(?:com|org|net|edu|gov|info|biz|io|co|de|fr|es|it|nl|ru|pl|uk|eu|us|ca|au|jp|cn|br|in)"
_ADDRESS = re.compile(rf"(?:https?|ftp|file)://\S+|\bwww\.\S+|{_E_MAIL}|\b{_SITE}/\S+", re.IGNORECASE)
_ONLY_SITE = re.compile(rf"\W*{_SITE}\W*", re.IGNORECASE)
_MARKS = re.compile(r"[<@`\[*#]|\.\w|/")
_WORD = re.compile(r"[^\W_]+")

_TOKEN = re.compile(r"'(?:s|t|re|ve|m|ll|d)\b|[^\W\d_]+|\d|[^\w\s]+|_+")
"""What no byte-pair encoding of ours or of CLIP's joins: a word, a digit, a run of punctuation."""


class Fault(NamedTuple):
    """A caption of those with one kind of fault."""

    item: int
    certainty: float
    note: str
    empty: bool = False
    """Whether nothing of it can be learned from, so that it is left out without being asked to."""


def find(texts: Texts, count_tokens: Callable[[str], int] | None = None, limit: int = LENGTH) -> list[ItemFinding]:
    """All faults of captions, one finding for each kind, or two where some are left out without being asked to.

    ``count_tokens`` counts what a tokenizer makes of a caption, its beginning and end left out; without, it is the
    least that any can make of it. ``limit`` is what the model reads, these two among them.
    """
    said, shared = boilerplate(texts)
    languages, advice = wrong_language(texts)
    return [
        _finding("wrong_encoding", "in a broken encoding", _ENCODING, wrong_encoding(texts)),
        *_halves("markup", ("markup and nothing else", "full of markup or addresses"), _MARKUP, markup(texts)),
        _finding("wrong_language", _OTHER, advice, [Fault(*one) for one in languages]),
        _finding("over_long", "longer than the model reads", _LONG, over_long(texts, count_tokens, limit)),
        *_halves(
            "boilerplate", ("empty talk that says nothing of an item", "framed by words that many share"),
            _BOILERPLATE, (Fault(*one) for one in (*said, *shared)),
        ),
    ]  # fmt: skip


_OTHER = "in another language or script than most"
_ENCODING = "read their file as UTF-8, or take the mended texts that are shown"
_MARKUP = "keep the words alone, or leave these captions out"
_LONG = "say first what the item shows, or raise data.text.max_length"
_BOILERPLATE = "take these words off, or write what each item shows"


def _finding(kind: str, what: str, advice: str, faults: Iterable[Fault], leave_out: bool = False) -> ItemFinding:
    """Faults as a finding, the surest first."""
    ordered = sorted(faults, key=lambda fault: (-fault.certainty, fault.item))
    return ItemFinding(
        kind, what, advice, [one.item for one in ordered], [one.certainty for one in ordered],
        [one.note for one in ordered], leave_out,
    )  # fmt: skip


def _halves(kind: str, what: tuple[str, str], advice: str, faults: Iterable[Fault]) -> list[ItemFinding]:
    """Captions with nothing in them to learn from, which are left out, and those where a part of them is wrong."""
    found = list(faults)
    return [
        _finding(
            kind,
            what[0],
            "nothing can be learned from them, so --out leaves them out",
            [one for one in found if one.empty],
            True,
        ),
        _finding(kind, what[1], advice, [one for one in found if not one.empty]),
    ]


def wrong_encoding(texts: Texts) -> Iterator[Fault]:
    """Captions whose bytes were read in another encoding than they were written in, with what they were meant to say.

    So are left-over HTML entities, control characters, and question marks in the place of letters.
    """
    lost = []
    for item, text in enumerate(texts):
        if text is None or not _UNUSUAL.search(text):
            continue
        mended, certainty = (text, 0.0) if text.isascii() else mend(text)
        plain = _CONTROL.sub("", mended)
        if _ENTITY.search(plain):
            plain = html.unescape(html.unescape(plain))
        certainty = 1.0 if plain != mended or "\ufffd" in text else certainty
        if certainty:
            yield Fault(item, certainty, f"letters are lost: {plain}" if "\ufffd" in plain else plain)
        elif "?" in text and not _ADDRESS.search(text):
            lost.append(item)
    if lost:
        yield from _question_marks(texts, lost)


def _question_marks(texts: Texts, items: Sequence[int]) -> Iterator[Fault]:
    """``caf?s``: a letter that an encoding lacks, unless what stands beside the mark are words of the set."""
    sides = {item: _QUESTION.findall(texts[item] or "") for item in items}
    wanted = {side for words in sides.values() for word in words for side in word.casefold().split("?")}
    known: Counter[str] = Counter()
    for text in texts:
        if text is not None:
            known.update(wanted.intersection(text.casefold().split()))
    for item, words in sides.items():
        broken = [word for word in words if not _is_question(word.casefold().split("?"), known)]
        if broken:
            yield Fault(item, LOST, f"letters are lost: {', '.join(broken)}")


def _is_question(sides: Sequence[str], known: Counter[str]) -> bool:
    """Whether it is two sentences without a blank between them: ``is it red?yes``, ``what?why``."""
    if _ASKING.intersection(sides):
        return True
    left, right = (known[side] > 1 or side in FUNCTION_WORDS - _ENDINGS for side in (sides[0], sides[-1]))
    if left:
        return right or len(sides[-1]) > 2
    return right and len(sides[0]) > 2


def markup(texts: Texts) -> Iterator[Fault]:
    """Captions with tags of HTML or Markdown, and those that are an address rather than words."""
    for item, text in enumerate(texts):
        if text is None or not _MARKS.search(text):
            continue
        without = _MARKDOWN.sub(" ", _TAG.sub(" ", text))
        tagged = without != text
        words = _ADDRESS.sub(" ", without)
        addresses = 1.0 - _length(words) / max(1, _length(without))
        if _ONLY_SITE.fullmatch(without.strip()):
            words, addresses = "", 1.0
        if tagged or addresses >= MARKED:
            kept = _ADDRESS.sub(" ", _MARKDOWN.sub(_inner, _TAG.sub(" ", text))) if words else ""
            left = " ".join(kept.split())
            empty = not _WORD.search(left)
            yield Fault(item, 1.0 if tagged or empty else addresses, "no words" if empty else f"words: {left}", empty)


def _inner(match: re.Match[str]) -> str:
    """What a piece of Markdown shows: the words of a link, what is bold."""
    return match[0].split("](")[0].strip("![]*`# ")


def _length(text: str) -> int:
    """Letters that are no blanks."""
    return sum(map(len, text.split()))


def least_tokens(text: str) -> int:
    """The fewest tokens that a tokenizer of words and their parts can make of a text: its words, digits and marks."""
    return len(_TOKEN.findall(text))


def over_long(texts: Texts, count_tokens: Callable[[str], int] | None = None, limit: int = LENGTH) -> Iterator[Fault]:
    """Captions of which the model does not read the end, and how much of each that is."""
    count, room = count_tokens or least_tokens, limit - 2
    for item, text in enumerate(texts):
        if text is None or len(text) <= room // 4:  # a letter takes at most four bytes, and as many tokens
            continue
        if count_tokens is None and len(text) <= room:
            continue
        tokens = count(text)
        if tokens > room:
            clip = f"; {1 - (CLIP - 2) / tokens:.0%} with CLIP's {CLIP}" if tokens > CLIP - 2 else ""
            about = "" if count_tokens else "at least "
            yield Fault(
                item,
                1.0,
                f"{about}{tokens} tokens, of which {room} are read: {about}{1 - room / tokens:.0%} is cut{clip}",
            )
