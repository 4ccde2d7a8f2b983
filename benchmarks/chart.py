"""Horizontal bars on a logarithmic scale, as SVG text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, LABELS, VALUES = 760, 170, 110
"""Of the picture, the names to the left and the figures to the right, in pixels."""
LINE, BAR, GAP, TOP = 22, 14, 34, 44
"""Of one bar with its space, the bar, what is above a group, and what is above all."""
# No colour depends on the theme of the page, which a picture cannot ask for: these are readable on white and on black.
TEXT, OURS, THEIRS = "#808080", "#2f81f7", "#9a9a9a"


@dataclass(frozen=True)
class Group:
    """Bars that are compared with each other, on a scale of their own."""

    title: str
    unit: str
    values: Mapping[str, float]

    @property
    def height(self) -> int:
        return GAP + LINE * len(self.values)


@dataclass(frozen=True)
class Scale:
    """Whole decades, from one that is below every figure."""

    low: int
    high: int

    def x(self, value: float) -> float:
        """Where a figure ends, in pixels; what is too small for the scale has no bar."""
        exponent = min(max(log10(value) if value > 0 else self.low, self.low), self.high)
        return LABELS + (WIDTH - LABELS - VALUES) * (exponent - self.low) / (self.high - self.low)


def bars(title: str, groups: Sequence[Group], *, highlighted: str) -> str:
    """The picture; one name's bars stand out."""
    shown = [group for group in groups if group.values]
    height = TOP + sum(group.height for group in shown) + 12
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" fill="{TEXT}" role="img">',
        f"<title>{escape(title)}</title>",
        _text(0, 20, title, size=15, weight="bold"),
        *_groups(shown, highlighted),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _groups(groups: Sequence[Group], highlighted: str) -> Iterator[str]:
    top = TOP
    for group in groups:
        yield from _group(group, top, highlighted)
        top += group.height


def _group(group: Group, top: int, highlighted: str) -> Iterator[str]:
    scale = _scale(list(group.values.values()))
    yield _text(0, top + 16, f"{group.title}, {group.unit}; each line is ten times the last", weight="bold")
    for decade in range(scale.low, scale.high + 1):
        x = scale.x(10.0**decade)
        yield f'<path d="M{x:.1f} {top + 24}V{top + group.height}" stroke="{TEXT}" stroke-opacity=".25"/>'
    for number, (name, value) in enumerate(group.values.items()):
        yield from _bar(scale, top + GAP + LINE * number, name, value, group.unit, name == highlighted)


def _bar(scale: Scale, top: int, name: str, value: float, unit: str, is_ours: bool) -> Iterator[str]:
    end, middle = scale.x(value), top + BAR - 3
    weight, colour = ("bold", OURS) if is_ours else ("normal", THEIRS)
    yield _text(LABELS - 8, middle, name, anchor="end", weight=weight)
    yield f'<rect x="{LABELS}" y="{top}" width="{end - LABELS:.1f}" height="{BAR}" rx="2" fill="{colour}"/>'
    yield _text(end + 6, middle, f"{_short(value)} {unit}", weight=weight)


def _scale(values: Sequence[float]) -> Scale:
    positive = [value for value in values if value > 0] or [1.0]
    # Half a decade to spare, so that the smallest figure has a bar too.
    low = floor(log10(min(positive)) - 0.5)
    return Scale(low, max(low + 1, ceil(log10(max(positive)))))


def _short(value: float) -> str:
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:.1f}M"
    digits = 0 if abs(value) >= 100 else 1
    return f"{value:,.{digits}f}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal") -> str:
    style = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
