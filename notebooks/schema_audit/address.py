"""Addresses of databases: reading one as libpq does, and keeping its password out of what is printed."""

import re
from urllib.parse import unquote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from .errors import AuditError

EXAMPLE = "postgresql://user:password@host:5432/database"


def libpq_address(address: str) -> str:
    """Return an address as libpq takes it, without what only others read: SQLAlchemy's driver, Prisma's pgbouncer=true.

    Raises:
        AuditError: it is no address of a PostgreSQL server. No part of it is in the message: any could be the password.
    """
    address = _without_foreign_options(re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", address.strip()))
    is_url = re.match(r"postgres(ql)?://", address) is not None
    try:
        parts = conninfo_to_dict(address) if is_url or "=" in address else {}
    except ProgrammingError:
        parts = {}
    if not parts:
        raise AuditError(f"The database's address cannot be read; write it as {EXAMPLE}.")
    # libpq ends a password at the first @, : or /, and takes the rest of it for a server, a port or a database.
    is_torn = "@" in f"{parts.get('host', '')}{parts.get('dbname', '')}" or re.search(r"[^\d,]", str(parts.get("port") or ""))
    if is_url and is_torn:
        raise AuditError(
            f"The database's address cannot be read; write it as {EXAMPLE}, with @, : and / in a password as %40, %3A, %2F."
        )
    return address


def without_password(text: str, address: str) -> str:
    """Return a text in which nothing is left of an address's password, as written or as decoded."""
    try:
        written = {str(conninfo_to_dict(address).get("password") or "")}
    except ProgrammingError:
        written = set()
    written |= set(re.findall(r"://[^:@/]*:(.+)@", address)) | set(re.findall(r"password=([^\s&]+)", address))
    secrets = {form for secret in written for form in (secret, unquote(secret)) if form}
    for secret in sorted(secrets, key=len, reverse=True):
        # As a word of its own: a password such as "a" would take the sentence apart.
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return text


def _without_foreign_options(address: str) -> str:
    parts = re.match(r"(postgres(?:ql)?://(?:.*@)?[^?]*)\?(.*)$", address, re.DOTALL)
    if not parts:
        return address
    known = {option.keyword.decode() for option in Conninfo.get_defaults()} | {"ssl"}
    kept = "&".join(option for option in parts[2].split("&") if option.partition("=")[0] in known)
    return f"{parts[1]}?{kept}" if kept else parts[1]
