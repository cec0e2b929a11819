"""The rules: for any database, a file a kind; for the issues, a file a chapter."""

from importlib import import_module

from ..subject import RULES, OnlyBehaviour, Rule, Subject, by_number

__all__ = ["RULES", "OnlyBehaviour", "Rule", "Subject", "by_number"]

GENERAL = ("access", "exposure", "hygiene")
CHAPTERS = (
    "critical", "data_integrity", "performance", "security", "scalability", "design", "missing_features", "beyond",
)  # fmt: skip

for module in (*GENERAL, *CHAPTERS):
    import_module(f".{module}", __name__)
