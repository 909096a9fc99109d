"""What mail about live mode says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from licenzy.alignment.findings import Finding

_WHY = "You get this mail because you asked for it. Change that at {base_url}/account/notifications\n"


@dataclass(frozen=True, slots=True)
class AlertMail:
    """A subject and a plain text."""

    subject: str
    body: str


def found_mail(project_name: str, project_id: str, found: Sequence[Finding], *, base_url: str) -> AlertMail:
    """What blocks live mode now, with what was seen, the fix and the page that does it."""
    parts = [f"Live mode of the project “{project_name}” can’t sell until this is fixed."]
    parts += [
        f"{each.title}\n{each.evidence}\nFix: {each.fix}\n{base_url}{each.path(project_id)}" for each in found
    ]
    parts.append(_WHY.format(base_url=base_url))
    return AlertMail(
        f"{_named([each.title for each in found])} in live mode of {project_name}", "\n\n".join(parts)
    )


def cleared_mail(project_name: str, project_id: str, gone: Sequence[str], *, base_url: str) -> AlertMail:
    """What no longer blocks live mode."""
    body = "\n\n".join(
        [
            f"This no longer blocks live mode of the project “{project_name}”:",
            "\n".join(f"- {title}" for title in gone),
            f"{base_url}/projects/{project_id}/live/alignment shows what Licenzy finds now.",
            _WHY.format(base_url=base_url),
        ]
    )
    return AlertMail(f"Fixed: {_named(gone)} in live mode of {project_name}", body)


def _named(titles: Sequence[str]) -> str:
    return titles[0] if len(titles) == 1 else f"{titles[0]} and {len(titles) - 1} more"
