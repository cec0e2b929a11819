"""The one error of the audit: a sentence that says what is wrong and what to do about it."""


class AuditError(Exception):
    """The audit can give no verdict; the message says why, and what to do next."""
