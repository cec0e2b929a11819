"""From v1 to v2 on a live database, and back."""

from .plan import obstacles, plan
from .runner import Refused, Runner
from .steps import Status, abort, back, copy, finish, start, status, switch

__all__ = ["Refused", "Runner", "Status", "abort", "back", "copy", "finish", "obstacles", "plan", "start", "status", "switch"]
