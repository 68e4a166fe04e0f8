"""Aliases move between artifacts, and back."""

from __future__ import annotations

import pytest

from hanji.contracts.errors import ConfigError
from hanji.storage.aliases import Aliases
from hanji.storage.database import Database


@pytest.fixture
def aliases(database: Database) -> Aliases:
    return Aliases(database)


def standing(aliases: Aliases) -> dict[str, str]:
    return {alias: deployment.artifact for alias, deployment in aliases.current().items()}


def test_an_alias_stands_for_the_last_that_was_deployed(aliases: Aliases) -> None:
    assert aliases.current() == {}
    aliases.deploy("support", "demo/chat/aaa")
    aliases.deploy("draft", "demo/base/bbb")
    aliases.deploy("support", "demo/chat/ccc-2")
    assert standing(aliases) == {"support": "demo/chat/ccc-2", "draft": "demo/base/bbb"}


def test_rolling_back_goes_further_each_time(aliases: Aliases) -> None:
    for fingerprint in ("a", "b", "c"):
        aliases.deploy("x", f"r/s/{fingerprint}")
    aliases.deploy("y", "r/s/z")
    assert aliases.rollback("x").artifact == "r/s/b"
    assert standing(aliases) == {"x": "r/s/b", "y": "r/s/z"}
    aliases.deploy("x", "r/s/d")
    assert aliases.rollback("x").artifact == "r/s/b", "what was rolled back is passed over"
    assert aliases.rollback("x").artifact == "r/s/a"
    with pytest.raises(ConfigError, match="nothing to roll back to"):
        aliases.rollback("x")
    assert standing(aliases) == {"x": "r/s/a", "y": "r/s/z"}


def test_history_forgets_nothing(aliases: Aliases) -> None:
    for fingerprint in ("a", "b"):
        aliases.deploy("x", f"r/s/{fingerprint}")
    aliases.rollback("x")
    aliases.deploy("x", "r/s/c")
    told = [(deployment.artifact, deployment.rolled_back is None) for deployment in aliases.history("x")]
    assert told == [("r/s/c", True), ("r/s/b", False), ("r/s/a", True)]


def test_deploying_the_same_again_changes_nothing(aliases: Aliases) -> None:
    aliases.deploy("x", "r/s/a")
    first = aliases.deploy("x", "r/s/b")
    assert aliases.deploy("x", "r/s/b").id == first.id
    assert aliases.rollback("x").artifact == "r/s/a"


def test_mistakes_are_told(aliases: Aliases) -> None:
    for name in ("", "a/b", "../x", ".x", "a b", "x" * 65):
        with pytest.raises(ConfigError, match="cannot be an alias"):
            aliases.deploy(name, "r/s/a")
    with pytest.raises(ConfigError, match="hanji deploy NAME --as support"):
        aliases.rollback("support")
    aliases.deploy("support", "r/s/a")
    with pytest.raises(ConfigError, match="did you mean support"):
        aliases.history("suport")


@pytest.mark.parametrize("outside", ["../x/y", "/etc/x/y", "r/../y", "r/s", "r/s/a/b", ""])
def test_only_a_reference_within_a_workspace_is_taken(aliases: Aliases, outside: str) -> None:
    with pytest.raises(AssertionError):
        aliases.deploy("x", outside)
