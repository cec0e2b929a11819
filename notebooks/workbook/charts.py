"""The workbook's charts, in one style."""

import io

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from . import fixes
from .catalogue import SEVERITIES, all_categories, all_issues

BEFORE = "#D55E00"
AFTER = "#0072B2"
LIMIT = "#8C8C8C"
INK = "#222222"
SEVERITY_COLORS = {"high": "#D55E00", "medium": "#E69F00", "low": "#B8B8B8"}

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": LIMIT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "white",
    "hatch.linewidth": 0.8,
}


class Chart:
    """A finished picture."""

    def __init__(self, figure: Figure) -> None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        self._png = buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self._png

    def __repr__(self) -> str:
        return "<chart>"


def compare(title: str, subtitle: str, panels: dict[str, dict[str, float]]) -> Chart:
    """Draw a small bar chart for each measure, with the same arms in each.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic.
        panels: value by arm, by measure with its unit. The last arm is the one that the workbook chose.
    """
    arms = list(next(iter(panels.values())))
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 1.9 + 0.42 * len(arms)))
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (measure, values) in zip(axes, panels.items(), strict=True):
            for place, arm in enumerate(arms):
                chosen = place == len(arms) - 1
                bar = ax.barh(
                    arm,
                    values[arm],
                    height=0.6,
                    facecolor=AFTER if chosen else "white",
                    edgecolor=AFTER if chosen else BEFORE,
                    hatch=None if chosen else "////",
                    linewidth=1.4,
                )
                ax.bar_label(bar, [_short(values[arm])], padding=4, fontsize=10)
            ax.set_xlabel(measure)
            ax.set_xlim(0, 1.28 * max(max(values.values()), 1e-9))
            ax.xaxis.set_major_locator(MaxNLocator(3))
            ax.xaxis.set_major_formatter(lambda value, _: _short(value))
            ax.tick_params(left=False)
        axes[0].invert_yaxis()
        _head(figure, title, subtitle)
        return Chart(figure)


def issue_map() -> Chart:
    """Draw the review's issues as tiles: a row a category, a colour a severity, filled where a fix is there."""
    fixed = {fix.number for fix in fixes.all_fixes()}
    issues = all_issues()
    categories = all_categories()
    widest = max(sum(issue.category == category.name for issue in issues) for category in categories)
    high = sum(issue.severity == "high" for issue in issues)
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 4.6))
        ax = figure.subplots()
        for row, category in enumerate(categories):
            members = [issue for issue in issues if issue.category == category.name]
            for column, issue in enumerate(members):
                color = SEVERITY_COLORS[issue.severity]
                done = issue.number in fixed
                ax.add_patch(
                    FancyBboxPatch(
                        (column + 0.08, row + 0.12),
                        0.84,
                        0.76,
                        boxstyle="round,pad=0,rounding_size=0.12",
                        facecolor=color if done else "white",
                        edgecolor=color,
                        linewidth=2,
                    )
                )
                ink = "white" if done and issue.severity == "high" else INK
                ax.text(column + 0.5, row + 0.5, str(issue.number), ha="center", va="center", fontsize=11, color=ink)
        ax.set_xlim(0, widest + 0.2)
        ax.set_ylim(len(categories), 0)
        ax.set_yticks([row + 0.5 for row in range(len(categories))], [category.name for category in categories])
        ax.set_xticks([])
        ax.tick_params(left=False)
        for spine in ax.spines.values():
            spine.set_visible(False)
        handles = [
            FancyBboxPatch((0, 0), 1, 1, facecolor=SEVERITY_COLORS[severity], edgecolor=SEVERITY_COLORS[severity])
            for severity in SEVERITIES
        ]
        ax.legend(handles, SEVERITIES, title="severity", loc="lower right", frameon=False)
        if len(fixed & {issue.number for issue in issues}) == len(issues):
            state = "each with a fix file"
        else:
            state = "filled where a fix file is there"
        _head(
            figure,
            f"{len(issues)} issues in {len(categories)} categories, {high} of high severity",
            f"One tile an issue, {state}",
        )
        return Chart(figure)


def _head(figure: Figure, title: str, subtitle: str) -> None:
    """Write title and subtitle; both have to fit on one line."""
    if len(title) > 85 or len(subtitle) > 110:
        raise ValueError("a chart's title has 85 characters at the most, its subtitle 110")
    inches = figure.get_figheight()
    figure.text(0.015, 1 - 0.12 / inches, title, ha="left", va="top", fontsize=13, fontweight="bold")
    figure.text(0.015, 1 - 0.42 / inches, subtitle, ha="left", va="top", fontsize=10, color="#555555")
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.68 / inches))


def _short(value: float) -> str:
    """Write a number with three significant digits at the most, and thousands as k and M."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
