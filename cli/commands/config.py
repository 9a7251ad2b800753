"""The command that shows the settings."""

import typer

from ..app import command, settings


@command
def config() -> None:
    """Show the settings in force, and where each comes from.

    Example: FIBSTREAM_WORKERS=2 fibstream config
    """
    from fibstream.runtime.settings import Settings

    _, values = settings()
    for name, value in values.items():
        meaning = Settings.model_fields[name].description
        typer.echo(f"{name} = {value.value}  ({value.source}; {meaning})")
