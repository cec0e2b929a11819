"""The workbook's charts, in one style."""

import io
import statistics
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator, NullFormatter

from . import fixes
from .catalogue import SEVERITIES, all_categories, all_issues
from .tables import Table

BEFORE = "#D55E00"
AFTER = "#0072B2"
LIMIT = "#8C8C8C"
INK = "#222222"
SEVERITY_COLORS = {"high": "#D55E00", "medium": "#E69F00", "low": "#B8B8B8"}

STYLE: dict[Any, Any] = {
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
        self._title = figure.texts[0].get_text()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        self._png = buffer.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        # What a screen reader says in the picture's place.
        return self._png, {"alt": self._title}

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


SWEEP_LOOKS = [("o", "--"), ("s", ":"), ("^", "-."), ("D", (0, (1, 3)))]
"""Marker and line of the arms that were not chosen."""


def sweep(title: str, subtitle: str, series: dict[str, dict[float, list[float]]], x_label: str, y_label: str) -> Chart:
    """Draw how each arm grows: log–log, every run a faint dot, the median on top.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic.
        series: runs by size, by arm. An arm called limit is grey, the one before it is the one that the workbook chose.
    """
    arms = list(series)
    chosen = arms[-2] if arms[-1] == "limit" else arms[-1]
    shades = iter([BEFORE, "#CC79A7", "#E69F00", "#8C510A"])
    looks = iter(SWEEP_LOOKS)
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 4.6))
        ax = figure.subplots()
        for arm, runs in series.items():
            marker, line = ("o", "-") if arm in (chosen, "limit") else next(looks)
            color = AFTER if arm == chosen else LIMIT if arm == "limit" else next(shades)
            for x, values in runs.items():
                ax.plot([x] * len(values), values, ".", color=color, alpha=0.25, markersize=5)
            ax.plot(
                list(runs),
                [statistics.median(values) for values in runs.values()],
                marker=marker,
                linestyle=line,
                color=color,
                markerfacecolor=color if arm == chosen else "white",
                label=arm,
                linewidth=2,
            )
        _log_log(ax, x_label, y_label)
        _head(figure, title, subtitle)
        return Chart(figure)


def waterfall(title: str, subtitle: str, totals: dict[str, float], unit: str) -> Chart:
    """Draw how a cost grows from state to state: a bar for the first, one for each step, and one for the last.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic.
        totals: the whole cost by state, in order; a step's bar goes from the state before it to itself.
        unit: what the totals are in.
    """
    names, values = list(totals), list(totals.values())
    bars: list[tuple[str, float, float, str, str | None]] = [(names[0], 0.0, values[0], BEFORE, "////")]
    for name, start, end in zip(names[1:], values, values[1:], strict=False):
        bars.append((name, min(start, end), abs(end - start), "#E69F00" if end > start else "#009E73", None))
    bars.append(("all together", 0.0, values[-1], AFTER, None))
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 1.6 + 0.36 * len(bars)))
        ax = figure.subplots()
        for place, (name, left, width, color, hatch) in enumerate(bars):
            plain = hatch is None
            ax.barh(name, width, left=left, height=0.6, facecolor=color if plain else "white", edgecolor=color, hatch=hatch)
            sign = "" if place in (0, len(bars) - 1) else "+" if color == "#E69F00" else "−"
            ax.text(left + width, place, f" {sign}{_short(width)}", va="center", fontsize=10)
        ax.set_xlim(0, 1.15 * max(values))
        ax.set_xlabel(unit)
        ax.tick_params(left=False)
        ax.invert_yaxis()
        _head(figure, title, subtitle)
        return Chart(figure)


PARTS = ["#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#CC79A7", "#D55E00", "#8C8C8C"]
"""Colours of the parts of a stack, in order."""


def stack(title: str, subtitle: str, arms: dict[str, dict[str, float]], unit: str) -> Chart:
    """Draw what each arm's total is made of: a bar an arm, a colour a part.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic.
        arms: value by part, by arm; a part that an arm has not is left out.
        unit: what the values are in.
    """
    parts = list(dict.fromkeys(part for values in arms.values() for part in values))
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 2.2 + 0.62 * len(arms) + 0.2 * len(parts)))
        ax = figure.subplots()
        reached = dict.fromkeys(arms, 0.0)
        for part, color in zip(parts, PARTS, strict=False):
            widths = [values.get(part, 0.0) for values in arms.values()]
            ax.barh(list(arms), widths, left=list(reached.values()), height=0.6, color=color, edgecolor="white", label=part)
            for place, (arm, width) in enumerate(zip(arms, widths, strict=True)):
                if width > 0.04 * max(sum(values.values()) for values in arms.values()):
                    ink = "white" if color in ("#0072B2", "#009E73", "#D55E00") else INK
                    ax.text(reached[arm] + width / 2, place, _short(width), ha="center", va="center", fontsize=9, color=ink)
                reached[arm] += width
        for place, total in enumerate(reached.values()):
            ax.text(total, place, f" {_short(total)}", va="center", fontsize=10, fontweight="bold")
        ax.set_xlim(0, 1.12 * max(reached.values()))
        ax.set_xlabel(unit)
        ax.tick_params(left=False)
        ax.invert_yaxis()
        ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.45, -0.16 - 0.25 / len(arms)), ncols=2, fontsize=9)
        _head(figure, title, subtitle)
        return Chart(figure)


def timeline(title: str, subtitle: str, arms: dict[str, list[tuple[float, float]]], y_label: str) -> Chart:
    """Draw what somebody felt while something went on: a panel an arm, a dot for each thing they did.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic.
        arms: seconds since the beginning and the value felt, by arm. The last arm is the one that the workbook chose.
        y_label: what the values are, with their unit; drawn on a logarithmic axis.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8))
        axes = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
        for place, (ax, (arm, felt)) in enumerate(zip(axes, arms.items(), strict=True)):
            chosen = place == len(arms) - 1
            color = AFTER if chosen else BEFORE
            moments, values = zip(*felt, strict=True)
            ax.plot(moments, values, "o", markersize=3.5, color=color, markerfacecolor=color if chosen else "white", alpha=0.8)
            worst = max(felt, key=lambda dot: dot[1])
            ax.annotate(
                f"{_short(worst[1])} ms",
                worst,
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=10,
                fontweight="bold",
            )
            ax.set_title(arm, fontsize=11, loc="left")
            ax.set_xlabel("seconds since it began")
            ax.margins(x=0.08, y=0.2)
            ax.set_xlim(left=0)
            ax.xaxis.set_major_locator(MaxNLocator(5))
        axes[0].set_yscale("log")
        axes[0].set_ylabel(y_label)
        axes[0].yaxis.set_major_formatter(lambda value, _: _short(value))
        axes[0].yaxis.set_minor_formatter(NullFormatter())
        _head(figure, title, subtitle)
        return Chart(figure)


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
        figure = Figure(figsize=(9, 2.3 * len(arms) + 0.9))
        axes = figure.subplots(len(arms), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        end = max(moment for felt, _ in arms.values() for moment, _ in felt)
        for place, (ax, (arm, (felt, begins))) in enumerate(zip(axes, arms.items(), strict=True)):
            color = AFTER if place == len(arms) - 1 else BEFORE
            moments, values = zip(*felt, strict=True)
            ax.plot(moments, values, ".", markersize=3, color=color, alpha=0.6)
            ax.set_yscale("log")
            worst = max(felt, key=lambda dot: dot[1])
            said = f"{worst[1] / 1000:.0f} s" if worst[1] >= 10_000 else f"{worst[1]:.0f} ms"
            ax.annotate(said, worst, xytext=(6, 0), textcoords="offset points", va="center", fontsize=10, fontweight="bold")
            for name in named[arm]:
                ax.axvline(begins[name], color=LIMIT, linewidth=0.8)
                ax.annotate(
                    name, (begins[name], 1), xycoords=("data", "axes fraction"), xytext=(3, -2), textcoords="offset points",
                    ha="left", va="top", fontsize=9, color="#555555",
                )  # fmt: skip
            ax.set_title(arm, fontsize=11, loc="left")
            ax.margins(y=0.25)
            ax.set_xlim(0, 1.02 * end)
            ax.yaxis.set_major_formatter(lambda value, _: _short(value))
            ax.yaxis.set_minor_formatter(NullFormatter())
        axes[-1].set_xlabel("seconds")
        figure.supylabel(y_label, fontsize=11, x=0.012)
        _head(figure, title, subtitle)
        return Chart(figure)


def growth(title: str, subtitle: str, curves: dict[str, tuple[dict[float, float], dict[float, float]]], y_label: str) -> Chart:
    """Draw measured curves and what a model makes of them beyond the measurement.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic.
        curves: the measured values by size and the modelled ones by size, by name; those that stay flat come last.
        y_label: what the values are, with their unit.
    """
    edge = max(max(measured) for measured, _ in curves.values())
    colors = [BEFORE, "#CC79A7", "#E69F00", AFTER, "#56B4E9"]
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 5.2))
        ax = figure.subplots()
        for (name, (measured, modelled)), color in zip(curves.items(), colors, strict=False):
            ax.plot(list(measured), list(measured.values()), "o-", color=color, linewidth=2, label=name)
            ax.plot(list(modelled), list(modelled.values()), ":", color=color, linewidth=2)
        ax.axvline(edge, color=LIMIT, linewidth=1)
        _log_log(ax, "rows in the table", y_label)
        ax.text(edge, ax.get_ylim()[1], "measured ◂ ", ha="right", va="top", fontsize=9, color="#555555")
        ax.text(edge, ax.get_ylim()[1], " ▸ computed", ha="left", va="top", fontsize=9, color="#555555")
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


def _tile(x: float, y: float, color: str, *, filled: bool) -> FancyBboxPatch:
    """Return a small rounded tile for a grid whose cells are one wide and one high."""
    return FancyBboxPatch(
        (x + 0.12, y + 0.12),
        0.76,
        0.76,
        boxstyle="round,pad=0,rounding_size=0.15",
        facecolor=color if filled else "white",
        edgecolor=color,
        linewidth=1.2,
    )


def scoreboard(results: dict[str, dict[int, str | None]], titles: dict[int, str]) -> Chart:
    """Draw which database shows which flaw: a row an issue, a column a database, in two halves side by side.

    Args:
        results: what each issue's check saw, or None, by issue, by database.
        titles: what to call each issue.
    """
    numbers = list(titles)
    half = -(-len(numbers) // 2)
    pitch = 1.9
    names = list(results)
    shows = {name: sum(seen is not None for seen in found.values()) for name, found in results.items()}
    with rc_context(STYLE):
        figure = Figure(figsize=(13, 1.6 + 0.235 * half))
        for ax, part in zip(figure.subplots(1, 2), (numbers[:half], numbers[half:]), strict=True):
            for row, number in enumerate(part):
                for column, name in enumerate(names):
                    is_seen = results[name][number] is not None
                    color, mark = (BEFORE, "×") if is_seen else (AFTER, "✓")
                    ax.add_patch(_tile(pitch * column, row, color, filled=not is_seen))
                    ink = color if is_seen else "white"
                    ax.text(
                        pitch * column + 0.5, row + 0.52, mark, ha="center", va="center", fontsize=9, color=ink, fontweight="bold"
                    )
                ax.text(pitch * len(names) + 0.6, row + 0.5, f"{number}", ha="right", va="center", fontsize=9.5, color="#555555")
                ax.text(pitch * len(names) + 1, row + 0.5, titles[number], ha="left", va="center", fontsize=9.5)
            for column, name in enumerate(names):
                ax.text(pitch * column + 0.5, -0.15, name.replace(" ", "\n"), ha="center", va="bottom", fontsize=9)
            ax.set_xlim(-0.3, 26)
            ax.set_ylim(half, -1.6)
            ax.set_axis_off()
        last, middle, first = (shows[name] for name in (names[-1], names[1], names[0]))
        _head(
            figure,
            f"{names[-1]} shows {last or 'none'} of the {len(numbers)} flaws, the review's own SQL leaves {middle}",
            f"× the issue's check sees the flaw, ✓ it does not; {names[0]} shows {first}; every cell run just now",
        )
        return Chart(figure)


OUTCOMES = {"allowed": (AFTER, True, "✓"), "no row": (LIMIT, False, "0"), "refused": (BEFORE, False, "×")}


def privilege_grid(attempts: Table) -> Chart:
    """Draw what everybody may do to one learner's rows: a row a table, a group of columns a visitor.

    Args:
        attempts: table, command, visitor and outcome of each; see `privileges.try_all`.
    """
    tables, visitors, commands = (list(dict.fromkeys(attempts[column])) for column in ("table", "visitor", "command"))
    width = len(commands) + 0.8
    with rc_context(STYLE):
        figure = Figure(figsize=(12, 2.1 + 0.36 * len(tables)))
        ax = figure.subplots()
        for table, command, visitor, outcome in attempts.itertuples(index=False):
            x, y = visitors.index(visitor) * width + commands.index(command), tables.index(table)
            color, filled, mark = OUTCOMES[outcome]
            ax.add_patch(_tile(x, y, color, filled=filled))
            ink = "white" if filled else color
            ax.text(x + 0.5, y + 0.52, mark, ha="center", va="center", fontsize=10, color=ink, fontweight="bold")
        for place, visitor in enumerate(visitors):
            ax.text(place * width + len(commands) / 2, -0.85, visitor, ha="center", va="bottom", fontsize=11, fontweight="bold")
            for column, command in enumerate(commands):
                ax.text(place * width + column + 0.5, -0.15, command[:3], ha="center", va="bottom", fontsize=9, color="#555555")
        ax.set_xlim(-0.2, len(visitors) * width)
        ax.set_ylim(len(tables), -1.7)
        ax.set_yticks([row + 0.5 for row in range(len(tables))], tables)
        ax.set_xticks([])
        ax.tick_params(left=False)
        for spine in ax.spines.values():
            spine.set_visible(False)
        allowed = int((attempts["outcome"] == "allowed").sum())
        _head(
            figure,
            f"Of {len(attempts)} statements on Anna's rows, {allowed} are allowed",
            "✓ allowed, 0 runs and finds no row, × refused; each tried and undone; sel ins upd del tru = the five commands",
        )
        return Chart(figure)


def _log_log(ax: Axes, x_label: str, y_label: str) -> None:
    """Make both axes logarithmic, name them, and put the legend beside them."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: _short(value))
    ax.yaxis.set_major_formatter(lambda value, _: _short(value))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(True, which="major", color="#EEEEEE")
    ax.set_axisbelow(True)
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def caption(figure: Figure, title: str, subtitle: str) -> None:
    """Write title and subtitle; both have to fit on one line.

    Raises:
        ValueError: one is too long.
    """
    if len(title) > 85 or len(subtitle) > 110:
        raise ValueError("a chart's title has 85 characters at the most, its subtitle 110")
    inches = figure.get_figheight()
    figure.text(0.015, 1 - 0.12 / inches, title, ha="left", va="top", fontsize=13, fontweight="bold")
    figure.text(0.015, 1 - 0.42 / inches, subtitle, ha="left", va="top", fontsize=10, color="#555555")


def _head(figure: Figure, title: str, subtitle: str) -> None:
    """Write title and subtitle, and make room for them."""
    caption(figure, title, subtitle)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.68 / figure.get_figheight()))


def _short(value: float) -> str:
    """Write a number with three significant digits at the most, and thousands as k and M."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
