"""The workbook's charts, in one style."""

import statistics
from math import nan
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import NullFormatter

from . import fixes
from .catalogue import SEVERITIES, Issue, all_categories, all_issues, beyond
from .picture import (
    AFTER,
    BEFORE,
    INK,
    LIMIT,
    NORMAL,
    ON_LIGHT,
    PAPER,
    QUIET,
    SMALL,
    STYLE,
    WIDTH,
    Chart,
    finished,
    text_width,
    wrapped,
)
from .tables import Table

MORE, LESS = "#E69F00", "#009E73"
SEVERITY_COLORS = {"high": BEFORE, "medium": MORE, "low": "#A8A8A8"}


def compare(title: str, subtitle: str, panels: dict[str, dict[str, float | list[float]]], *, is_choice: bool = True) -> Chart:
    """Draw a small bar chart for each measure, with the same arms in each.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic.
        panels: value by arm, by measure with its unit; of several runs the bar shows the median, and a line from the least to
            the largest. The last arm is the one that the workbook chose.
        is_choice: whether the arms are ways to do one thing, of which one was chosen, or things of one kind.
    """
    arms = list(next(iter(panels.values())))
    columns = {1: 1, 2: 2, 3: 3, 4: 2}.get(len(panels), 3)
    lines = -(-len(panels) // columns)
    names = [wrapped(arm, 125, NORMAL) for arm in arms]
    beside = 72 * WIDTH - max(text_width(name, NORMAL) for name in names) - 20
    wide = beside / columns - 12
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, lines * (0.55 + 0.17 * len(arms) + 0.15 * sum(1 + name.count("\n") for name in names))))
        grid = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
        for ax, (measure, values) in zip(grid, panels.items(), strict=False):
            runs = {arm: value if isinstance(value, list) else [value] for arm, value in values.items()}
            middle = {arm: statistics.median(found) for arm, found in runs.items()}
            for place, arm in enumerate(arms):
                is_chosen = place == len(arms) - 1 or not is_choice
                look: dict[str, Any] = (
                    {"facecolor": AFTER, "edgecolor": AFTER}
                    if is_chosen
                    else {"facecolor": "none", "edgecolor": BEFORE, "hatch": "////"}
                )
                ax.barh(place, middle[arm], height=0.56, linewidth=1.2, **look)
                _label(ax, _short(middle[arm]), (middle[arm], place))
            farthest = max(max(found) for found in runs.values())
            label = max(text_width(_short(value), NORMAL) for value in middle.values()) + 8
            limit = max(farthest, 1e-9) / (1 - label / wide)
            ax.set_xlim(0, limit)
            for place, arm in enumerate(arms):
                if len(runs[arm]) > 1:
                    _range(ax, place, runs[arm], wide / limit)
            ax.set_title(wrapped(measure, 0.95 * wide, NORMAL))
            ax.set_xticks([])
            ax.spines["bottom"].set_visible(False)
            ax.set_yticks(range(len(arms)), names)
            ax.tick_params(left=False)
        for ax in grid[len(panels) :]:
            ax.set_visible(False)
        grid[0].invert_yaxis()
        return finished(figure, title, subtitle)


def _label(ax: Axes, text: str, at: tuple[float, float], **look: Any) -> None:
    """Write a value to the right of its bar."""
    ax.annotate(text, at, xytext=(5, 0), textcoords="offset points", va="center", **look)


def _range(ax: Axes, place: int, runs: list[float], points: float) -> None:
    """Draw a line under a bar from the least to the largest run, with the largest one's value where it is far out.

    Args:
        points: how many points of the picture a unit of the axis is.
    """
    middle, most = statistics.median(runs), max(runs)
    ax.plot([min(runs), most], [place + 0.42] * 2, color=INK, linewidth=1, marker="|", markersize=5)
    written = text_width(_short(middle), NORMAL) + text_width(_short(most), SMALL) + 16
    if most > 2 * middle and (most - middle) * points > written:
        ax.text(most, place + 0.3, _short(most), ha="right", va="bottom", fontsize=SMALL, **QUIET)


SWEEP_LOOKS = [("o", "--"), ("s", ":"), ("^", "-."), ("D", (0, (1, 3)))]
"""Marker and line of the arms that were not chosen."""
SHADES = [BEFORE, "#CC79A7", MORE, "#A0622D"]


def sweep(title: str, subtitle: str, series: dict[str, dict[int, list[float]]], x_label: str, y_label: str) -> Chart:
    """Draw how each arm grows: log–log, every run a faint dot, the median on top.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic.
        series: runs by size, by arm. An arm called limit is grey, the one before it is the one that the workbook chose.
    """
    arms = list(series)
    chosen = arms[-2] if arms[-1] == "limit" else arms[-1]
    shades, looks = iter(SHADES), iter(SWEEP_LOOKS)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.3))
        ax = figure.subplots()
        for arm, runs in series.items():
            marker, line = ("o", "-") if arm in (chosen, "limit") else next(looks)
            color = AFTER if arm == chosen else LIMIT if arm == "limit" else next(shades)
            for x, values in runs.items():
                ax.plot([x] * len(values), values, ".", color=color, alpha=0.3, markersize=5)
            medians = [statistics.median(values) for values in runs.values()]
            face = color if arm == chosen else PAPER
            ax.plot(list(runs), medians, marker=marker, linestyle=line, color=color, markerfacecolor=face, label=arm, linewidth=2)
        _log_log(ax, x_label, y_label)
        return finished(figure, title, subtitle, below=_legend(figure, ax))


def waterfall(title: str, subtitle: str, totals: dict[str, float], unit: str) -> Chart:
    """Draw how a cost grows from state to state: a bar for the first, one for each step, and one for the last.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic.
        totals: the whole cost by state, in order; a step's bar goes from the state before it to itself.
        unit: what the totals are in.
    """
    names, values = list(totals), list(totals.values())
    bars: list[tuple[str, float, float, str]] = [(names[0], 0.0, values[0], BEFORE)]
    for name, start, end in zip(names[1:], values, values[1:], strict=False):
        bars.append((name, min(start, end), abs(end - start), MORE if end > start else LESS))
    bars.append(("all together", 0.0, values[-1], AFTER))
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.5 + 0.27 * len(bars)))
        ax = figure.subplots()
        for place, (_, left, width, color) in enumerate(bars):
            look: dict[str, Any] = {"facecolor": "none", "hatch": "////"} if color == BEFORE else {"facecolor": color}
            ax.barh(place, width, left=left, height=0.62, edgecolor=color, **look)
            sign = {MORE: "+", LESS: "−"}.get(color, "")
            _label(ax, f"{sign}{_short(width)}", (left + width, place))
        ax.set_xlim(0, 1.2 * max(*values, 1e-9))
        ax.set_xlabel(unit)
        ax.xaxis.set_major_formatter(lambda value, _: _short(value))
        ax.set_yticks(range(len(bars)), [name for name, *_ in bars])
        ax.tick_params(left=False)
        ax.invert_yaxis()
        return finished(figure, title, subtitle)


PARTS = {
    AFTER: "white",
    "#56B4E9": ON_LIGHT,
    LESS: ON_LIGHT,
    "#E5C100": ON_LIGHT,
    MORE: ON_LIGHT,
    "#CC79A7": ON_LIGHT,
    BEFORE: ON_LIGHT,
}
"""Colours of the parts of a stack, in order, and the text on each."""


def stack(title: str, subtitle: str, arms: dict[str, dict[str, float]], unit: str) -> Chart:
    """Draw what each arm's total is made of: a bar an arm, a colour a part.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic.
        arms: value by part, by arm; a part that an arm has not is left out. There are seven parts at the most.
        unit: what the values are in.
    """
    parts = list(dict.fromkeys(part for values in arms.values() for part in values))
    largest = max(*(sum(values.values()) for values in arms.values()), 1e-9)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.7 + 0.5 * len(arms)))
        ax = figure.subplots()
        reached = dict.fromkeys(arms, 0.0)
        for part, (color, ink) in zip(parts, PARTS.items(), strict=False):
            widths = [values.get(part, 0.0) for values in arms.values()]
            ax.barh(
                list(arms),
                widths,
                left=list(reached.values()),
                height=0.62,
                color=color,
                edgecolor=INK,
                linewidth=0.6,
                label=part,
            )
            for place, (arm, width) in enumerate(zip(arms, widths, strict=True)):
                if width > 0.07 * largest:
                    at = (reached[arm] + width / 2, place)
                    ax.text(*at, _short(width), ha="center", va="center", fontsize=SMALL, color=ink)
                reached[arm] += width
        for place, total in enumerate(reached.values()):
            _label(ax, _short(total), (total, place), fontweight="bold")
        ax.set_xlim(0, 1.15 * largest)
        ax.set_xlabel(unit)
        ax.xaxis.set_major_formatter(lambda value, _: _short(value))
        ax.tick_params(left=False)
        ax.invert_yaxis()
        return finished(figure, title, subtitle, below=_legend(figure, ax))


def phases(
    title: str,
    subtitle: str,
    arms: dict[str, tuple[list[tuple[float, float]], dict[str, float]]],
    named: dict[str, list[str]],
    y_label: str,
) -> Chart:
    """Draw what the clients of an app felt while something went on: a panel an arm, on one axis.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, clients and statistic.
        arms: by arm the seconds since the beginning with the value felt, and the second at which each phase began. The last arm
            is the one that the workbook chose.
        named: by arm the phases that are named in the picture, in their order.
        y_label: what the values are, with their unit; drawn on a logarithmic axis.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.9 * len(arms) + 0.3))
        axes = figure.subplots(len(arms), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        end = max(moment for felt, _ in arms.values() for moment, _ in felt)
        placed = {arm: _in_lines({name: begins[name] for name in named[arm]}, end) for arm, (_, begins) in arms.items()}
        # Room for the names above the highest dot, of a panel that is about a hundred points high.
        lines = max((line + 1 for names in placed.values() for *_, line in names), default=0)
        low, high = (pick(value for felt, _ in arms.values() for _, value in felt) for pick in (min, max))
        top = low * (high / low) ** (1 / (1 - (11 * lines + 16) / 100))
        for place, (ax, (arm, (felt, begins))) in enumerate(zip(axes, arms.items(), strict=True)):
            # Dots as one path of lines without length: a mark for each would make the picture ten times as heavy.
            moments, values = ([at for dot in felt for at in (dot[side], dot[side], nan)] for side in (0, 1))
            color = AFTER if place == len(arms) - 1 else BEFORE
            ax.plot(moments, values, color=color, alpha=0.8, linewidth=3, solid_capstyle="round")
            ax.set_yscale("log")
            worst = max(felt, key=lambda dot: dot[1])
            said = f"{worst[1] / 1000:.0f} s" if worst[1] >= 10_000 else f"{worst[1]:.0f} ms"
            away = (-6, "right") if worst[0] > end / 2 else (6, "left")
            ax.annotate(said, worst, xytext=(away[0], 2), textcoords="offset points", ha=away[1], va="bottom", fontweight="bold")
            for name, at, line in placed[arm]:
                ax.axvline(begins[name], color=LIMIT, linewidth=0.8)
                ax.annotate(
                    name, (at, 1), xycoords=("data", "axes fraction"), xytext=(3, -2 - 11 * line),
                    textcoords="offset points", va="top", fontsize=SMALL, **QUIET,
                )  # fmt: skip
            ax.set_title(arm)
            ax.set_xlim(0, 1.02 * end)
            ax.set_ylim(low / 2, top)
            ax.yaxis.set_major_formatter(lambda value, _: _short(value))
            ax.yaxis.set_minor_formatter(NullFormatter())
        axes[-1].set_xlabel("seconds")
        figure.supylabel(y_label, fontsize=NORMAL)
        return finished(figure, title, subtitle)


def _in_lines(names: dict[str, float], end: float) -> list[tuple[str, float, int]]:
    """Return each name with its place and the line that it is written in, so that none covers the one before it."""
    free: list[float] = []
    placed = []
    for name, at in names.items():
        wide = text_width(name, SMALL) / (72 * WIDTH - 70) * end
        line = next((line for line, reached in enumerate(free) if reached <= at), len(free))
        free[line : line + 1] = [at + 1.2 * wide]
        placed.append((name, min(at, 0.98 * end - wide), line))
    return placed


def growth(
    title: str, subtitle: str, panels: dict[str, dict[str, tuple[dict[int, float], dict[int, float]]]], y_label: str
) -> Chart:
    """Draw measured curves with solid lines, and with dotted ones what a model makes of them beyond the measurement.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic.
        panels: the measured values by size and the modelled ones by size, by curve, by what the sizes are. The last curve of a
            panel is the one that the workbook chose.
        y_label: what the values are, with their unit.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.7))
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (x_label, curves) in zip(axes, panels.items(), strict=True):
            for place, (name, (measured, modelled)) in enumerate(curves.items()):
                color = AFTER if place == len(curves) - 1 else SHADES[place]
                ax.plot(list(measured), list(measured.values()), "o-", color=color, linewidth=2, markersize=5, label=name)
                ax.plot(
                    list(modelled), list(modelled.values()), "o:", color=color, linewidth=2, markersize=5, markerfacecolor=PAPER
                )
            _log_log(ax, x_label, y_label if ax is axes[0] else "")
            ax.legend(loc="upper left", handlelength=1.2)
        return finished(figure, title, subtitle)


def issue_map() -> Chart:
    """Draw the review's issues as tiles: a row a category, a colour a severity, filled where a fix is there."""
    fixed = {fix.number for fix in fixes.all_fixes()}
    issues = all_issues()
    looks = {}
    for issue in issues:
        color = SEVERITY_COLORS[issue.severity]
        is_done = issue.number in fixed
        looks[issue.number] = (str(issue.number), color if is_done else "none", color, ON_LIGHT if is_done else INK)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.2 + 0.36 * len(all_categories())))
        ax = figure.subplots()
        _tile_rows(ax, issues, looks)
        handles = [
            Line2D([], [], marker="s", linestyle="", markersize=9, color=SEVERITY_COLORS[severity]) for severity in SEVERITIES
        ]
        below = _legend(figure, ax, dict(zip((f"{severity} severity" for severity in SEVERITIES), handles, strict=True)))
        high = sum(issue.severity == "high" for issue in issues)
        is_complete = {issue.number for issue in issues} <= fixed
        return finished(
            figure,
            f"{len(issues)} issues in {len(all_categories())} categories, {high} of high severity",
            f"one tile an issue, {'each with a fix file' if is_complete else 'filled where a fix file is there'}",
            below=below,
        )


def _tile_rows(ax: Axes, issues: tuple[Issue, ...], looks: dict[int, tuple[str, str, str, str]]) -> None:
    """Draw a tile an issue, a row a category: what stands in it, its face, its edge, and the colour of its text."""
    categories = list(dict.fromkeys(issue.category for issue in issues))
    rows = [[issue for issue in issues if issue.category == category] for category in categories]
    for y, row in enumerate(rows):
        for x, issue in enumerate(row):
            text, face, edge, ink = looks[issue.number]
            tile = FancyBboxPatch((x + 0.06, y + 0.1), 0.88, 0.8, boxstyle="round,pad=0,rounding_size=0.1")
            tile.set(facecolor=face, edgecolor=edge, linewidth=1.4)
            ax.add_patch(tile)
            ax.text(x + 0.5, y + 0.52, text, ha="center", va="center", color=ink)
    _as_grid(ax, categories, max(map(len, rows)), 0)


def _as_grid(ax: Axes, names: list[str], width: float, top: float) -> None:
    """Make the axes a grid of cells one wide and one high, with a name for each row and nothing around."""
    ax.set_xlim(0, width)
    ax.set_ylim(len(names), top)
    ax.set_yticks([row + 0.5 for row in range(len(names))], names)
    ax.set_xticks([])
    ax.tick_params(left=False)
    ax.spines[:].set_visible(False)


KINDS = {
    "gone": ("✓", AFTER, AFTER, "white"),
    "falls short": ("×", BEFORE, BEFORE, ON_LIGHT),
    "no statement": ("–", "none", MORE, INK),
    "not mentioned": ("?", "none", LIMIT, INK),
}
"""What became of a flaw as proposed: its sign, and the tile's face, edge and text. See `Scoreboard.kinds`."""


def scoreboard(shown: dict[str, int], kinds: dict[int, str]) -> Chart:
    """Draw how many flaws each database shows, and what became of each one as proposed.

    Args:
        shown: how many flaws a database shows, by its name: the reviewed one, the one as proposed, and the one with all fixes.
        kinds: what became of each issue's flaw as proposed, one of KINDS.
    """
    before, proposed, after = shown
    count = {kind: sum(found == kind for found in kinds.values()) for kind in KINDS}
    issues = (*all_issues(), *beyond())
    looks = {number: (f"{number} {KINDS[kind][0]}", *KINDS[kind][1:]) for number, kind in kinds.items()}
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.9))
        bars, tiles = figure.subplots(2, 1, height_ratios=(1, 3))
        for place, (name, total) in enumerate(shown.items()):
            left = 0
            parts = (
                [(count[kind], *KINDS[kind][1:]) for kind in list(KINDS)[1:]]
                if name == proposed
                else [(total, BEFORE, BEFORE, ON_LIGHT)]
            )
            for width, face, edge, ink in parts:
                if width:
                    bars.barh(place, width, left=left, height=0.7, facecolor=face, edgecolor=edge, linewidth=1.4)
                    bars.text(left + width / 2, place + 0.03, str(width), ha="center", va="center", color=ink)
                left += width
            _label(bars, f"{total} shown", (total, place))
        bars.set_xlim(0, 1.18 * len(kinds))
        _as_grid(bars, list(shown), 1.18 * len(kinds), 0)
        bars.set_yticks(range(len(shown)), list(shown))
        bars.set_ylim(len(shown) - 0.5, -0.5)
        _tile_rows(tiles, issues, looks)
        handles = {f"{sign} {kind}": _square(face, edge) for kind, (sign, face, edge, _) in KINDS.items()}
        return finished(
            figure,
            f"The review's own SQL leaves {shown[proposed]} of {len(kinds)} flaws, {after} {shown[after] or 'none'}",
            f"{count['falls short']} its SQL does not mend, {count['no statement']} have none of it, "
            f"{count['not mentioned']} it does not mention; {before} shows {shown[before]}",
            below=_legend(figure, tiles, handles),
            is_for_readme=True,
        )


def _square(face: str, edge: str) -> Line2D:
    return Line2D([], [], marker="s", linestyle="", markersize=9, markerfacecolor=face, markeredgecolor=edge, markeredgewidth=1.4)


OUTCOMES = {"allowed": ("✓", AFTER, AFTER, "white"), "no row": ("0", "none", LIMIT, INK), "refused": ("–", "none", "none", INK)}
"""What became of an attempt: its sign, and the tile's face, edge and text."""


def privilege_grid(attempts: Table) -> Chart:
    """Draw what everybody may do to one learner's rows: a row a table, a group of columns a visitor.

    Args:
        attempts: table, command, visitor and outcome of each; see `privileges.try_all`.
    """
    tables, visitors, commands = (list(dict.fromkeys(attempts[column])) for column in ("table", "visitor", "command"))
    width = len(commands) + 0.8
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.3 + 0.24 * len(tables)))
        ax = figure.subplots()
        for table, command, visitor, outcome in attempts.itertuples(index=False):
            x, y = visitors.index(visitor) * width + commands.index(command), tables.index(table)
            sign, face, edge, ink = OUTCOMES[outcome]
            tile = FancyBboxPatch((x + 0.1, y + 0.1), 0.8, 0.8, boxstyle="round,pad=0,rounding_size=0.15")
            tile.set(facecolor=face, edgecolor=edge, linewidth=1)
            ax.add_patch(tile)
            ax.text(x + 0.5, y + 0.52, sign, ha="center", va="center", fontsize=SMALL, color=ink)
        for place, visitor in enumerate(visitors):
            head = wrapped(visitor, 90, NORMAL, bold=True)
            ax.text(place * width + len(commands) / 2, -3.1, head, ha="center", va="bottom", fontweight="bold")
            for column, command in enumerate(commands):
                ax.text(
                    place * width + column + 0.55, -0.15, command, ha="center", va="bottom", rotation=90, fontsize=SMALL, **QUIET
                )
        _as_grid(ax, tables, len(visitors) * width - 0.8, -3.2)
        allowed = int((attempts["outcome"] == "allowed").sum())
        return finished(
            figure,
            f"Of {len(attempts)} statements on Anna's rows, {allowed} are allowed",
            "✓ allowed, 0 runs and finds no row, – refused; each was tried and undone",
        )


def _log_log(ax: Axes, x_label: str, y_label: str) -> None:
    """Make both axes logarithmic and name them."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: _short(value))
        axis.set_minor_formatter(NullFormatter())
    ax.grid(True, which="major", color=INK, alpha=0.12, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)


def _legend(figure: Figure, ax: Axes, handles: dict[str, Any] | None = None) -> float:
    """Write a legend at the foot of the figure, and return how many inches it takes."""
    if handles is None:
        found, labels = ax.get_legend_handles_labels()
        handles = dict(zip(labels, found, strict=True))
    widths = [text_width(label, SMALL) + 36 for label in handles]
    columns = len(widths) if sum(widths) < 72 * WIDTH else max(1, int(72 * WIDTH // max(widths)))
    figure.legend(list(handles.values()), list(handles), loc="lower center", ncols=columns, borderaxespad=0.3, columnspacing=1.2)
    return 0.12 + 0.19 * -(-len(handles) // columns)


def _short(value: float) -> str:
    """Write a number with three significant digits at the most, and thousands as k and M."""
    value = float(f"{value:.3g}")
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
