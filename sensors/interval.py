"""How often the sensors look, as tamis.toml says: Dagster loads the definitions for one project."""

from tamis.project import open_project

INTERVAL_SECONDS = open_project().settings.automation.interval_seconds
