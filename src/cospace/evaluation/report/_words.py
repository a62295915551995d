"""Words and figures as they stand on the page. Everything that came from outside is escaped here and nowhere else."""

from __future__ import annotations

import re
from html import escape

from ._svg import number

_LONGEST = 300
_ROOT = r"(?:~|[A-Za-z]:)?[/\\]"
_PATH = re.compile(rf"""\w+://\S+|'{_ROOT}[^']+'|"{_ROOT}[^"]+"|(?<![\w.:/\\<]){_ROOT}[^\s'",;)\]}}]+""")


def plain(value: object) -> str:
    """A value as escaped text without folders, hosts or people in it: of a path, only the last name stays."""
    return escape(_PATH.sub(_last_name, _number_or_text(value)), quote=True)


def caption(text: str) -> str:
    """Someone's caption as escaped text, shortened where it would fill the page."""
    return escape(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…", quote=True)


def direction_words(direction: str) -> str:
    """``text_to_image`` as people say it."""
    return " → ".join(direction.split("_to_"))


def nothing(sentence: str) -> str:
    """What stands where a part was not measured."""
    return f'<p class="none">{sentence}</p>'


def whole_percent(percent: float) -> str:
    """A whole percent that is never 0 or 100."""
    return "&gt; 99&nbsp;%" if percent > 99 else "&lt; 1&nbsp;%" if percent < 1 else f"{percent:.0f}&nbsp;%"


def _last_name(match: re.Match[str]) -> str:
    """What may be shown of a path or an address: its last name, unless that is a person's folder or a host."""
    parts = re.split(r"[/\\]+", match[0].strip("'\"").rstrip("/\\"))
    personal = len(parts) == 3 and parts[1] in ("home", "Users")
    return "…" if "://" in match[0] or personal else parts[-1]


def _number_or_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return number(value)
