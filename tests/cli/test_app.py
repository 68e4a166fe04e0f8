"""The command: quick to start, clear when something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hanji.cli.app import VERBS
from hanji.cli.console import LOG_WIDTH
from hanji.cli.stage_help import show_stage_help
from hanji.recipes.reference import keys_of
from hanji.recipes.schema import STAGES


def hanji(*arguments: str, cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "110", "OMP_NUM_THREADS": "1"}
    environment.pop("HANJI_RUNS", None)
    done = subprocess.run(
        [sys.executable, "-m", "hanji", *arguments],
        capture_output=True, text=True, cwd=cwd, env=environment, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


def imported(*arguments: str) -> set[str]:
    code = (
        "import sys\nfrom hanji.cli.app import main\n"
        f"sys.argv = ['hanji', *{list(arguments)!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint(' '.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_the_front_page_lists_every_verb_in_order() -> None:
    page = hanji("--help").stdout
    places = [page.index(f"\n   {name} ") for name in VERBS]
    assert places == sorted(places)
    assert hanji("--version").stdout == "hanji 0.1.0\n"


def test_the_front_page_imports_nothing_but_typer() -> None:
    assert not imported("--help") & {
        "torch",
        "sqlalchemy",
        "transformers",
        "pydantic",
        "ruamel",
        "rich",
        "numpy",
        "pyarrow",
    }


@pytest.mark.parametrize("kind", STAGES)
def test_a_verb_s_help_lists_the_keys_of_its_stage(kind: str) -> None:
    page = hanji(kind, "--help").stdout
    for key in keys_of(STAGES[kind]):
        if key.path != "kind":
            assert key.path in page
    assert f"hanji {kind} KEY=VALUE" in page
    assert max(map(len, page.splitlines())) <= LOG_WIDTH
    assert "\x1b" not in page, "no colours in a pipe"


def test_a_verb_s_help_fits_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("NO_COLOR", "1")
    show_stage_help("evaluate")
    lines = capsys.readouterr().out.splitlines()
    (start,) = (index for index, line in enumerate(lines) if line.startswith("   models "))
    assert max(map(len, lines[start:])) <= 70
    told = " ".join(line[31:] for line in lines[start:] if line.startswith(("   models ", " " * 31)))
    models = next(key for key in keys_of(STAGES["evaluate"]) if key.path == "models")
    assert told.startswith(f"{models.description} {models.type} · required")


def test_a_verb_s_help_imports_neither_torch_nor_rich() -> None:
    heavy = {"torch", "transformers", "numpy", "pyarrow", "datasets", "rich"}
    assert not imported("finetune", "--help") & heavy


@pytest.mark.parametrize("verb", [name for name in VERBS if name not in STAGES])
def test_other_verbs_have_help_too_and_import_no_torch(verb: str) -> None:
    assert VERBS[verb].help.split()[0] in hanji(verb, "--help").stdout
    assert "torch" not in imported(verb, "--help")


def test_a_mistyped_verb() -> None:
    done = hanji("fintune", code=2)
    assert "did you mean hanji finetune?" in done.stderr
    assert done.stdout == ""


def test_a_mistake_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: q\nstages:\n  a: {kind: prepare, sauce: x}\n")
    done = hanji("run", "r.yaml", cwd=tmp_path, code=2)
    assert done.stderr.startswith("error: ")
    assert "r.yaml:3: a.sauce" in done.stderr
    assert "did you mean source?" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in hanji("run", "r.yaml", "--debug", cwd=tmp_path, code=1).stderr


def test_a_fault_of_ours_is_one_line(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.write_text("a file where a directory is wanted")
    (tmp_path / "rows.txt").write_text("x")
    done = hanji("prepare", "source=rows.txt", cwd=tmp_path, code=1)
    assert "run with --debug" in done.stderr
    assert "Traceback" not in done.stderr


def test_schema_is_a_json_schema() -> None:
    schema = json.loads(hanji("schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    (stage,) = schema["properties"]["stages"]["patternProperties"].values()
    assert set(stage["discriminator"]["mapping"]) == set(STAGES)


def test_prepare_show_and_lineage_in_a_log(tmp_path: Path) -> None:
    lines = [f"Row number {index} says something." for index in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    settings = ["prepare", "source=rows.jsonl", "split.validation=0.2", "name=mine"]
    first = hanji(*settings, cwd=tmp_path)
    assert "prepare/mine: made in" in first.stderr
    place = tmp_path / first.stdout.split()[1]
    assert (place / "artifact.json").is_file()
    assert "\x1b" not in first.stdout + first.stderr, "no colours in a log"

    assert "Everything is made." in hanji(*settings, cwd=tmp_path).stderr
    assert "torch" not in first.stderr

    shown = hanji("show", "mine", "--rows", "1", "--verify", cwd=tmp_path).stdout
    assert "Row number" in shown
    assert "as they were made" in shown
    assert "prepare/mine" in hanji("show", cwd=tmp_path).stdout
    assert "rows.jsonl" in hanji("lineage", "mine", cwd=tmp_path).stdout
    assert "did you mean mine?" in hanji("show", "mien", cwd=tmp_path, code=1).stderr
    assert "--tokenizer NAME" in hanji("show", "mine", "--tokens", cwd=tmp_path, code=2).stderr
