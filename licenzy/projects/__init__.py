"""Projects, each with test and live mode; the `Scope` of a project and mode; and who may see them."""
