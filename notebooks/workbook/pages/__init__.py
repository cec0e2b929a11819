"""HTML pages from the templates beside this file: each is one file that needs nothing else."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_FOLDER = Path(__file__).parent


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["css"] = css
    return environment


def css(name: str) -> Markup:
    """Return a style sheet, to be put into a page."""
    return Markup((_FOLDER / f"{name}.css").read_text())


def page(template: str, **values: object) -> str:
    """Return a page made from a template; text is escaped."""
    return _environment().get_template(f"{template}.html").render(**values)
