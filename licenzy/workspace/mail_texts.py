"""What people are mailed about their accounts: subjects and plain texts. Pure."""

from __future__ import annotations

from licenzy.workspace.models import Role


def invitation_mail(*, workspace: str, inviter: str | None, role: Role, url: str) -> tuple[str, str]:
    """The subject and the text of an invitation."""
    who = f"{inviter} has invited you" if inviter else "You are invited"
    return (
        f"Join “{workspace}” on Licenzy",
        f"{who} to the workspace “{workspace}” on Licenzy, as {role.value}.\n\n"
        f"Join with this link. It works once, for 7 days:\n\n{url}\n\n"
        "If you did not expect this mail, ignore it.\n",
    )


def reset_mail(*, url: str) -> tuple[str, str]:
    """The subject and the text of a link that somebody asked for by themselves."""
    return (
        "Set a new password for Licenzy",
        "Somebody asked for a link to set a new password for your Licenzy account.\n\n"
        f"Set it here. The link works once, for 1 hour:\n\n{url}\n\n"
        "If it was not you, ignore this mail. Your password stays as it is.\n",
    )


def issued_reset_mail(*, issuer: str | None, url: str) -> tuple[str, str]:
    """The subject and the text of a link that a colleague made."""
    who = f"{issuer} has made a link" if issuer else "A link was made"
    return (
        "Set a new password for Licenzy",
        f"{who} for you to set a new password for your Licenzy account.\n\n"
        f"Set it here. The link works once, for 24 hours:\n\n{url}\n\n"
        "If you do not need a new password, ignore this mail. Your password stays as it is.\n",
    )
