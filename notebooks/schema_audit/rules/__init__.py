"""One rule for each issue: what the catalog shows of its flaw."""

from importlib import import_module

from ...catalogue import all_notebooks, module_of
from .subject import RULES, OnlyBehaviour, Subject

__all__ = ["RULES", "OnlyBehaviour", "Subject"]

for category in all_notebooks():
    import_module(f".{module_of(category)}", __name__)
