"""Who acts in the demonstrations, and the fixed ids of the rows that they act on."""

import json
from dataclasses import dataclass

from .paths import DATA, read_csv

NAMES = {row["name"]: row["id"] for row in read_csv(DATA / "names.csv")}
"""Every :name that a statement may use without saying what it stands for, and its id."""


@dataclass(frozen=True)
class Actor:
    """Somebody who sends statements: a database role and, for a learner, the claims of their token."""

    label: str
    role: str | None
    user_id: str | None = None

    @property
    def claims(self) -> str:
        """The token's claims as JSON, as the API puts them into the transaction; empty for a direct connection."""
        if self.role is None or self.role == "workbook_owner":
            return ""
        claims = {"role": self.role}
        if self.user_id:
            claims["sub"] = self.user_id
        return json.dumps(claims)


ANNA = Actor("Anna", "authenticated", NAMES["anna"])
BEN = Actor("Ben", "authenticated", NAMES["ben"])
ANON = Actor("anonymous visitor", "anon")
SERVICE = Actor("service role", "service_role")
OWNER = Actor("schema owner", "workbook_owner")
ADMIN = Actor("server administrator", None)
"""The login itself, a superuser: stands for the platform, such as its sign-up service."""
