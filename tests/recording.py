"""Draws a transcript as a terminal: the picture of a morning in the README.

    python -m tests.recording        writes docs/morning.svg

What is drawn is what `tests/client/transcripts/readme.txt` says, which a test plays.
"""

from html import escape
from pathlib import Path

from tests.transcripts import FOLDER, ROOT

SOURCE = FOLDER / "readme.txt"
PICTURE = ROOT / "docs/morning.svg"

_MARGIN, _LINE, _LETTER = 20, 20, 8.43
"""Pixels, for letters of 14."""

_FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
_GROUND, _INK, _PROMPT, _MESSAGE = "#16181d", "#e6e6e6", "#7bd88f", "#9fb7d6"


def render(transcript: str) -> str:
    """Return an SVG of what is typed and seen in a transcript."""
    lines = list(_lines(transcript))
    width = round(2 * _MARGIN + max(len(p + t) for p, t, _ in lines) * _LETTER)
    height = 2 * _MARGIN + len(lines) * _LINE
    rows = "".join(
        f'<text x="{_MARGIN}" y="{_MARGIN + _LINE * at + 14}" xml:space="preserve">'
        f'<tspan fill="{_PROMPT}">{escape(prompt)}</tspan>'
        f'<tspan fill="{colour}">{escape(text)}</tspan></text>\n'
        for at, (prompt, text, colour) in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img" font-size="14"'
        f' font-family="{_FONT}">\n'
        "<title>A morning with ca-login</title>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{_GROUND}"/>\n{rows}</svg>\n'
    )


def _lines(transcript: str) -> list[tuple[str, str, str]]:
    """Return prompt, text and colour of each line."""
    found = []
    for line in transcript.splitlines():
        mark, _, rest = line.partition(" ")
        if mark.endswith("$"):
            found.append(("$ ", rest, _INK))
        elif mark in {"|", ">", "!"}:
            said = rest.startswith("ca-login: ")
            found.append(("", rest, _MESSAGE if said else _INK))
        elif not line and found:
            found.append(("", "", _INK))
    return found


if __name__ == "__main__":
    Path(PICTURE).write_text(render(SOURCE.read_text()))
