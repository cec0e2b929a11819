"""Pictures of the schema, drawn from the catalog, and of what its rows go through."""

from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from sqlalchemy import MetaData, text

from .database import Database
from .picture import AFTER, BEFORE, INK, LIMIT, NORMAL, PAPER, QUIET, SMALL, STYLE, WIDTH, Chart, finished, text_width, wrapped

MARKS = {"added": ("+", AFTER), "changed": ("~", "#B07800"), "removed": ("−", BEFORE)}
"""What stands before a column that differs, and its colour."""

PLACES = [
    ["auth.users", "public.profiles", "public.scenarios", "public.event_types", "public.messages_archive"],
    ["public.sessions", "public.messages", "public.message_chunks", "public.logs"],
]
"""The tables from left to right and from top to bottom; one that a schema has not is left out."""

ROW, HEAD, TABLE, GAP, SPACE = 0.19, 0.26, 2.65, 0.75, 0.3
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
        figure = Figure(figsize=(WIDTH, height + 0.1))
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set_xlim(-0.42, WIDTH - 0.42)
        ax.set_ylim(height, -0.1)
        ax.axis("off")
        corners: dict[str, tuple[float, float]] = {}
        for place, column in enumerate(places):
            top = 0.0
            for table in column:
                corners[table] = (place * (TABLE + GAP), top)
                top += heights[table] + SPACE
        for table, corner in corners.items():
            is_new = before is not None and not any(mark != "added" for _, mark, _ in rows[table])
            _draw_table(ax, corner, table, rows[table], heights[table], AFTER if is_new else "#5F5F5F")
        for table, corner in corners.items():
            for row, (own, mark, _) in enumerate(rows[table]):
                for target in own.refers_to:
                    if target in corners and mark != "removed":
                        _draw_reference(ax, (corner[0], corner[1] + HEAD + ROW * (row + 0.5)), corners[target])
        return finished(figure, title, subtitle, is_bare=True)


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
    ax.add_patch(Rectangle((x, y), TABLE, height, facecolor=PAPER, edgecolor=color, linewidth=1.2, zorder=2))
    ax.add_patch(Rectangle((x, y), TABLE, HEAD, facecolor=color, edgecolor=color, zorder=3))
    name = table.removeprefix("public.")
    ax.text(x + 0.08, y + HEAD / 2, name, va="center", color="white", fontweight="bold", zorder=4)
    for row, (column, mark, earlier) in enumerate(rows):
        middle = y + HEAD + ROW * (row + 0.5)
        if mark:
            sign, color = MARKS[mark]
            ax.text(x + 0.11, middle, sign, va="center", ha="center", color=color, fontweight="bold", zorder=4)
        weight = "bold" if column.is_key else "normal"
        ax.text(x + 0.2, middle, column.name, va="center", fontsize=SMALL, fontweight=weight, zorder=4)
        ax.text(
            x + TABLE - 0.08, middle, earlier or _short(column.type), va="center", ha="right", fontsize=SMALL, zorder=4, **QUIET
        )
        if mark == "removed":
            ax.plot(
                [x + 0.2, x + 0.2 + text_width(column.name, SMALL) / 72], [middle, middle], color=BEFORE, linewidth=1.2, zorder=5
            )


def _draw_reference(ax: Axes, start: tuple[float, float], target: tuple[float, float]) -> None:
    """Draw a line from a column to the head of the table that it refers to: around its own side, or across the gap."""
    x, y = start
    end_y = target[1] + HEAD / 2
    if abs(target[0] - x) < 0.01:
        side = x - (0.34 if end_y < y else 0.16)
        ax.plot([x, side, side], [y, y, end_y], color=LIMIT, linewidth=1.2, zorder=1)
        ends = ((side, end_y), (x, end_y))
    elif target[0] < x:
        ends = ((x, y), (target[0] + TABLE, end_y))
    else:
        ends = ((x + TABLE, y), (target[0], end_y))
    arrow = FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=10, shrinkA=0, shrinkB=0)
    arrow.set(color=LIMIT, linewidth=1.2, zorder=1)
    ax.add_patch(arrow)


def states(title: str, subtitle: str, places: dict[str, tuple[float, float]], moves: dict[tuple[str, str], str]) -> Chart:
    """Draw what a row goes through: a box for each state, an arrow for each way from one to the next.

    Args:
        title: what is seen, as a sentence.
        subtitle: how to read it.
        places: column and row of each state, counted from the top left; a name of blanks is a beginning.
        moves: what leads from one state to another.
    """
    wide, high = (WIDTH - 0.2) / (max(x for x, _ in places.values()) + 1), 1.2
    rows = max(y for _, y in places.values()) + 1
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, rows * high))
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set_xlim(-0.1, WIDTH - 0.1)
        ax.set_ylim(rows * high, 0)
        ax.axis("off")
        boxes: dict[str, tuple[float, float, float]] = {}
        for name, (column, row) in places.items():
            x, y = (column + 0.5) * wide, (row + 0.55) * high
            half = text_width(name, NORMAL) / 144 + 0.15 if name.strip() else 0.07
            boxes[name] = (x, y, half)
            if not name.strip():
                ax.plot([x], [y], "o", color=INK, markersize=9)
                continue
            box = FancyBboxPatch((x - half, y - 0.17), 2 * half, 0.34, boxstyle="round,pad=0,rounding_size=0.15", linewidth=1.6)
            box.set(facecolor=PAPER, edgecolor=AFTER)
            ax.add_patch(box)
            ax.text(x, y, name, ha="center", va="center")
        for (start, end), text in moves.items():
            _draw_move(ax, boxes[start], boxes[end], text, wide)
        return finished(figure, title, subtitle, is_bare=True)


def _draw_move(ax: Axes, start: tuple[float, float, float], end: tuple[float, float, float], text: str, wide: float) -> None:
    """Draw an arrow between two boxes, given by their middle and half their width, and what it stands for."""
    is_level = abs(start[1] - end[1]) < 0.01
    sign = 1 if end[0] + end[1] > start[0] + start[1] else -1
    if is_level:
        tail, point = (start[0] + sign * (start[2] + 0.03), start[1]), (end[0] - sign * (end[2] + 0.03), end[1])
    else:
        tail, point = (start[0], start[1] + sign * 0.2), (end[0], end[1] - sign * 0.2)
    arrow = FancyArrowPatch(tail, point, arrowstyle="-|>", mutation_scale=13, shrinkA=0, shrinkB=0)
    arrow.set(color=LIMIT, linewidth=1.3)
    ax.add_patch(arrow)
    middle = ((tail[0] + point[0]) / 2, (tail[1] + point[1]) / 2)
    if is_level:
        said = wrapped(text, 72 * abs(point[0] - tail[0]) - 4, SMALL)
        ax.text(middle[0], middle[1] - 0.07, said, ha="center", va="bottom", fontsize=SMALL)
    else:
        # As far as to the next column, or to the picture's edge.
        said = wrapped(text, 72 * (wide - 0.2) if middle[0] + wide < WIDTH else 72 * (wide / 2 - 0.15), SMALL)
        ax.text(middle[0] + 0.08, middle[1], said, ha="left", va="center", fontsize=SMALL)
