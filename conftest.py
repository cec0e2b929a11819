"""Starts the server before the first test and stops it after the last one."""

from contextlib import ExitStack

import pytest
from workbook import report, server
from workbook.errors import WorkbookError
from workbook.measure import scale

_server = ExitStack()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the server once; the workers and their kernels find it in DATABASE_URL."""
    if hasattr(session.config, "workerinput"):
        return
    try:
        scale()
        _server.enter_context(server.running())
    except WorkbookError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the notebooks that cannot run here, and say why."""
    for item in items:
        if item.path.suffix == ".ipynb" and (why := report.skipped(item.path)):
            item.add_marker(pytest.mark.skip(reason=why))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the server unless another command uses it."""
    _server.close()
