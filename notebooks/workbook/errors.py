"""The one error that a reader of the workbook sees: a sentence with what to do next."""


class WorkbookError(Exception):
    """Something outside the workbook's control is wrong; the message says what, and what to do about it."""

    def _render_traceback_(self) -> list[str]:
        """Tell IPython to show the sentence alone, without a stack trace."""
        return [f"WorkbookError: {self}"]
