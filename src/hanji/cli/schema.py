"""`hanji schema`: the JSON schema of recipes."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """For editors: # yaml-language-server: $schema=recipe.schema.json"""
    from hanji.recipes.schema import Recipe

    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}
    typer.echo(json.dumps(whole, indent=2, ensure_ascii=False))
