"""From v1 to v2 on a live database, and back."""

from .steps import Refused, Runner, Status, abort, back, copy, finish, obstacles, plan, start, status, switch

__all__ = ["Refused", "Runner", "Status", "abort", "back", "copy", "finish", "obstacles", "plan", "start", "status", "switch"]
