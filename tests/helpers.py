"""Functions that several test files use."""

import subprocess
from collections.abc import Callable

import psycopg
from workbook.server import EmbeddedServer, libpq_url


def ask(own: EmbeddedServer, sql: str) -> object:
    """Send a statement to a test's own server and return the one value of its answer, if it has one."""
    with psycopg.connect(libpq_url(own.url), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


def is_one_sentence(error: Exception) -> bool:
    """Tell whether an error is fit for the reader."""
    text = str(error)
    return "\n" not in text and text.endswith(".") and "Traceback" not in text


Run = Callable[..., subprocess.CompletedProcess[str]]
