"""Tables as the reader sees them: no row numbers, words to the left, numbers to the right."""

from html import escape
from numbers import Number

import pandas as pd


class Table(pd.DataFrame):
    """A data frame that shows no row numbers and keeps whole numbers whole where some are missing.

    pandas' own `to_html` aligns no column by what it holds, and its Styler makes up ids and writes no plain text.
    """

    @property
    def _constructor(self) -> type["Table"]:
        return Table

    @staticmethod
    def of(rows: list[tuple], columns: list[str]) -> "Table":
        """Make a table of rows."""
        return Table(rows, columns=columns, dtype=object)

    def __repr__(self) -> str:
        """Show plain text, one line a row."""
        shown = [list(self.columns), *([str(value) for value in row] for row in self.itertuples(index=False))]
        columns = [
            [text.rjust(width) if numeric else text.ljust(width) for text in column]
            for column, numeric in zip(zip(*shown, strict=True), self._numeric(), strict=True)
            for width in [max(map(len, column))]
        ]
        return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))

    def _repr_html_(self) -> str:
        sides = ["right" if numeric else "left" for numeric in self._numeric()]

        def row(tag: str, values: list) -> str:
            cells = zip(sides, values, strict=True)
            written = (f'<{tag} style="text-align: {side}">{escape(str(value))}</{tag}>' for side, value in cells)
            return f"<tr>{''.join(written)}</tr>"

        head = row("th", list(self.columns))
        body = "\n".join(row("td", list(values)) for values in self.itertuples(index=False))
        return f"<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def _numeric(self) -> list[bool]:
        """Tell which columns hold numbers only."""
        return [
            all(isinstance(value, Number) and not isinstance(value, bool) for value in self.iloc[:, place].dropna())
            for place in range(len(self.columns))
        ]
