"""Draws what `make bench` measured over HTTP, against the number of connections."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 70, 50, 50
STEPS = 5
RATE, TAIL = "#0b6e4f", "#c1440e"

_STYLE = (
    "text{font:13px sans-serif;fill:#444}"
    ".rate{stroke:#0b6e4f;fill:none;stroke-width:2.5}"
    ".tail{stroke:#c1440e;fill:none;stroke-width:2.5;stroke-dasharray:7 4}"
    ".grid{stroke:#ddd}"
)


@dataclass(frozen=True)
class Point:
    """What was measured over so many connections."""

    connections: int
    certificates_per_second: float
    p99_milliseconds: float


def draw(points: Sequence[Point]) -> str:
    """Return the picture, as SVG that needs nothing beside it."""
    rates = [point.certificates_per_second for point in points]
    tails = [point.p99_milliseconds for point in points]
    title = "Certificates a second, and the slowest 1 %, against connections"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
            f"<title>{title}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            *_grid(_top(rates), _top(tails)),
            *_line("rate", rates),
            *_line("tail", tails),
            *(
                _text(_x(n, len(points)), HEIGHT - BOTTOM + 20, str(point.connections))
                for n, point in enumerate(points)
            ),
            _text(WIDTH / 2, HEIGHT - 10, "connections"),
            _text(LEFT - 50, 25, "certificates a second", RATE, anchor="start"),
            _text(WIDTH - 20, 25, "p99 in milliseconds", TAIL, anchor="end"),
            "</svg>\n",
        ]
    )


def _grid(rate: float, tail: float) -> list[str]:
    """Return a line for each step, with what it means on either side."""
    parts = []
    for step in range(STEPS + 1):
        y = _y(step, STEPS)
        parts += [
            f'<path class="grid" d="M{LEFT} {y:.0f}H{WIDTH - RIGHT}"/>',
            _text(LEFT - 8, y + 4, f"{rate * step / STEPS:g}", RATE, anchor="end"),
            _text(
                WIDTH - RIGHT + 8,
                y + 4,
                f"{tail * step / STEPS:g}",
                TAIL,
                anchor="start",
            ),
        ]
    return parts


def _line(kind: str, values: Sequence[float]) -> list[str]:
    top = _top(values)
    places = " ".join(
        f"{_x(n, len(values)):.0f},{_y(value, top):.0f}"
        for n, value in enumerate(values)
    )
    return [f'<polyline class="{kind}" points="{places}"/>']


def _top(values: Sequence[float]) -> float:
    """Return a round number that none of them is above."""
    unit: float = 10.0 ** int(log10(max(values)))
    return ceil(max(values) / unit * 2) * unit / 2


def _x(number: int, count: int) -> float:
    return LEFT + 40 + (WIDTH - LEFT - RIGHT - 80) * number / (count - 1)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _text(
    x: float, y: float, words: str, colour: str = "#444", anchor: str = "middle"
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" style="fill:{colour};text-anchor:{anchor}">'
        f"{words}</text>"
    )
