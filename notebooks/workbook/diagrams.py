"""Pictures of the schema, drawn from the catalog, and of what its rows go through."""

from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from sqlalchemy import MetaData, text

from .charts import AFTER, BEFORE, INK, LIMIT, STYLE, Chart, caption
from .database import Database

CHANGED = "#9A6700"
MARKS = {"": ("  ", INK), "added": ("+ ", AFTER), "changed": ("~ ", CHANGED), "removed": ("− ", BEFORE)}
"""What stands before a column that differs, and its colour."""

PLACES = [
    ["auth.users", "public.profiles", "public.scenarios"],
    ["public.sessions", "public.logs", "public.event_types"],
    ["public.messages", "public.message_chunks", "public.messages_archive"],
]
"""The tables from left to right and from top to bottom; one that a schema has not is left out."""

ROW, HEAD, WIDTH, GAP, SPACE = 0.2, 0.27, 3.5, 1.0, 0.4
"""In inches: a column's row, a table's head, its width, and the room beside and below it."""

SHORT = {"timestamp with time zone": "timestamptz", "integer": "int", "boolean": "bool"}


@dataclass(frozen=True)
class _Column:
    number: int
    name: str
    type: str
    is_key: bool
    refers_to: list[str]


def _read(database: Database) -> dict[str, list[_Column]]:
    schema = MetaData()
    with database.engine.connect() as connection:
        schema.reflect(connection, "public")
        schema.reflect(connection, "auth", only=["users"])
        numbers = {tuple(names): number for *names, number in connection.execute(text(_NUMBERS))}
    return {
        name: [
            _Column(
                numbers[table.schema, table.name, column.name],
                column.name,
                column.type.compile(connection.dialect).lower(),
                column.primary_key,
                sorted(
                    {key.referred_table.fullname for key in table.foreign_key_constraints if key.column_keys[0] == column.name}
                ),
            )
            for column in table.columns
        ]
        for name, table in schema.tables.items()
    }


# SQLAlchemy tells no numbers, and a column keeps its number when it is renamed.
_NUMBERS = """
select nspname::text, relname::text, attname::text, attnum
from pg_attribute
join pg_class on pg_class.oid = attrelid
join pg_namespace on pg_namespace.oid = relnamespace
where nspname in ('public', 'auth') and attnum > 0
"""


def entities(title: str, subtitle: str, database: Database, before: Database | None = None) -> Chart:
    """Draw a schema's tables with their columns and the foreign keys between them.

    Args:
        title: what is seen, as a sentence.
        subtitle: how to read it.
        before: a database to compare with: what it has not is marked +, what is otherwise there ~, what is gone −.
    """
    tables = _read(database)
    earlier = _read(before) if before else tables
    rows = {table: _marked(columns, earlier.get(table, [])) for table, columns in tables.items()}
    places = [[table for table in column if table in tables] for column in PLACES]
    heights = {table: HEAD + ROW * len(rows[table]) for table in tables}
    height = max(sum(heights[table] + SPACE for table in column) for column in places)
    with rc_context(STYLE):
        figure = Figure(figsize=(len(places) * (WIDTH + GAP) - GAP + 0.75, height + 0.9))
        ax = figure.add_axes((0, 0, 1, (height + 0.1) / (height + 0.9)))
        ax.set_xlim(-0.45, len(places) * (WIDTH + GAP) - GAP + 0.3)
        ax.set_ylim(height, -0.1)
        ax.axis("off")
        corners: dict[str, tuple[float, float]] = {}
        for place, column in enumerate(places):
            top = 0.0
            for table in column:
                corners[table] = (place * (WIDTH + GAP), top)
                top += heights[table] + SPACE
        for table, corner in corners.items():
            is_new = before is not None and not any(mark != "added" for _, mark, _ in rows[table])
            _draw_table(ax, corner, table, rows[table], heights[table], AFTER if is_new else "#555555")
        for table, corner in corners.items():
            for row, (own, mark, _) in enumerate(rows[table]):
                for target in own.refers_to:
                    if target in corners and mark != "removed":
                        _draw_reference(ax, (corner[0], corner[1] + HEAD + ROW * (row + 0.5)), corners[target])
        caption(figure, title, subtitle)
        return Chart(figure)


def _marked(columns: list[_Column], earlier: list[_Column]) -> list[tuple[_Column, str, str]]:
    """Return the columns with what became of each, and what it was before."""
    # A column keeps its number when it is renamed.
    was = {column.number: column for column in earlier}
    marked = []
    for column in columns:
        old = was.pop(column.number, None)
        if old is None:
            marked.append((column, "added", ""))
        elif old.name != column.name:
            marked.append((column, "changed", f"was {old.name}"))
        elif old.type != column.type:
            marked.append((column, "changed", f"was {_short(old.type)}"))
        else:
            marked.append((column, "", ""))
    return marked + [(column, "removed", "") for column in was.values()]


def _short(name: str) -> str:
    return SHORT.get(name, name)


def _draw_table(
    ax: Axes, corner: tuple[float, float], table: str, rows: list[tuple[_Column, str, str]], height: float, color: str
) -> None:
    x, y = corner
    ax.add_patch(Rectangle((x, y), WIDTH, height, facecolor="white", edgecolor=color, linewidth=1.2, zorder=2))
    ax.add_patch(Rectangle((x, y), WIDTH, HEAD, facecolor=color, edgecolor=color, zorder=3))
    ax.text(
        x + 0.08,
        y + HEAD / 2,
        table.removeprefix("public."),
        va="center",
        color="white",
        fontweight="bold",
        fontsize=10,
        zorder=4,
    )
    for row, (column, mark, earlier) in enumerate(rows):
        middle = y + HEAD + ROW * (row + 0.5)
        sign, ink = MARKS[mark]
        look: dict[str, Any] = {"va": "center", "fontsize": 8.5, "color": ink, "zorder": 4}
        weight = "bold" if column.is_key else "normal"
        name = ax.text(x + 0.06, middle, f"{sign}{column.name}", family="DejaVu Sans Mono", fontweight=weight, **look)
        ax.text(
            x + WIDTH - 0.08, middle, earlier or _short(column.type), ha="right", **{**look, "color": ink if mark else "#666666"}
        )
        if mark == "removed":
            name.set_alpha(0.8)
            ax.plot([x + 0.2, x + 0.2 + 0.072 * len(column.name)], [middle, middle], color=ink, linewidth=1, zorder=5)


def _draw_reference(ax: Axes, start: tuple[float, float], target: tuple[float, float]) -> None:
    """Draw a line from a column to the head of the table that it refers to, in its own column or to the left of it."""
    x, y = start
    end_y = target[1] + HEAD / 2
    if abs(target[0] - x) < 0.01:
        side = x - (0.34 if end_y < y else 0.16)
        ax.plot([x, side, side], [y, y, end_y], color=LIMIT, linewidth=1.2, zorder=1)
        start, end = (side, end_y), (x, end_y)
    else:
        start, end = (x, y), (target[0] + WIDTH, end_y)
    arrow = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, shrinkA=0, shrinkB=0)
    arrow.set(color=LIMIT, linewidth=1.2, zorder=1, connectionstyle="arc3,rad=0.06" if end[0] < x else "arc3")
    ax.add_patch(arrow)


def states(title: str, subtitle: str, places: dict[str, tuple[float, float]], moves: dict[tuple[str, str], str]) -> Chart:
    """Draw what a row goes through: a box for each state, an arrow for each way from one to the next.

    Args:
        title: what is seen, as a sentence.
        subtitle: how to read it.
        places: column and row of each state, counted from the top left; a name of blanks is a beginning.
        moves: what leads from one state to another.
    """
    wide, high = 2.5, 1.25
    columns = max(x for x, _ in places.values()) + 1
    rows = max(y for _, y in places.values()) + 1
    with rc_context(STYLE):
        figure = Figure(figsize=(columns * wide + 0.6, rows * high + 1.2))
        ax = figure.add_axes((0, 0, 1, (rows * high + 0.2) / (rows * high + 1.2)))
        ax.set_xlim(-0.3, columns * wide + 0.3)
        ax.set_ylim(rows * high + 0.1, -0.1)
        ax.axis("off")
        centers = {name: ((x + 0.5) * wide, (y + 0.4) * high) for name, (x, y) in places.items()}
        for name, (x, y) in centers.items():
            if not name.strip():
                ax.plot([x + 0.58], [y], "o", color=INK, markersize=10, zorder=3)
                continue
            box = FancyBboxPatch((x - 0.62, y - 0.22), 1.24, 0.44, boxstyle="round,pad=0,rounding_size=0.2", linewidth=1.6)
            box.set(facecolor="white", edgecolor=AFTER, zorder=3)
            ax.add_patch(box)
            ax.text(x, y, name, ha="center", va="center", fontsize=11, zorder=4)
        for (start, end), text in moves.items():
            _draw_move(ax, centers[start], centers[end], text)
        caption(figure, title, subtitle)
        return Chart(figure)


def _draw_move(ax: Axes, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
    is_level = abs(start[1] - end[1]) < 0.01
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    half = (0.66, 0.0) if is_level else (0.0, 0.26)
    sign = 1 if sum(end) > sum(start) else -1
    tail = (start[0] + sign * half[0], start[1] + sign * half[1])
    point = (end[0] - sign * half[0], end[1] - sign * half[1])
    arrow = FancyArrowPatch(tail, point, arrowstyle="-|>", mutation_scale=13, shrinkA=0, shrinkB=0)
    arrow.set(color="#555555", linewidth=1.3, zorder=2)
    ax.add_patch(arrow)
    if is_level:
        ax.text(middle[0], middle[1] - 0.07, text, ha="center", va="bottom", fontsize=8.5, color=INK)
    else:
        ax.text(middle[0] + 0.08, middle[1], text, ha="left", va="center", fontsize=8.5, color=INK)
