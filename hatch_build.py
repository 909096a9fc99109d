"""Has a wheel bring the folders that a checkout has beside the package."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ResourceFolders(BuildHookInterface[Any]):
    """Without these folders a wheel would have no pages, and nothing would warn.

    An editable installation finds them beside the package. Copies in it would never be read, and would be out
    of date with the next change.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before each build; `version` is `standard` or `editable`."""
        if version == "standard":
            build_data["force_include"] |= {
                name: f"licenzy/{name}" for name in ("templates", "static", "docs")
            }
