"""Every snippet and command of README and docs is run, on tiny models; see snippets.py for the markers."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from hanji.cli.app import VERBS
from hanji.models.load import load_model
from hanji.models.policies import CausalPolicy
from hanji.objectives.likelihood import Likelihood
from hanji.recipes.document import parse
from hanji.recipes.load import load_recipe
from hanji.recipes.schema import STAGES
from hanji.tokenizers.tokenizer import Tokenizer
from snippets import ROOT, RUN, SHOWN_ONLY, Block, blocks, pages, run_page

PAGES = pages()
TOLD = [page for page in PAGES if blocks(page) and "reports" not in page.parts]
"""Reports were written by hanji: what stands in them was run."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", TOLD, ids=name)
def test_every_block_says_how_it_is_run(page: Path) -> None:
    for block in blocks(page):
        known = bool(block.file) or block.language in (*RUN, *SHOWN_ONLY) or block.reason
        assert known, f"{block.where}: a block of {block.language!r} needs a file name or a marker"
        if block.language == "console":
            assert block.commands, f"{block.where}: no line begins with `$ `"
        assert block.reason is None or len(block.reason) > 10, f"{block.where}: say why it is not run"


@pytest.mark.parametrize("page", TOLD, ids=name)
def test_recipes_in_pages_are_valid_and_verbs_exist(page: Path, tmp_path: Path) -> None:
    """Also of blocks that are not run, for want of a hub or a GPU."""
    for block in blocks(page):
        if block.language == "yaml":
            check_recipe(block, tmp_path / "recipe.yaml")
        for command in block.commands if block.language == "console" else []:
            if command.startswith("hanji ") and not (verb := command.split()[1]).startswith("-"):
                assert verb in VERBS, f"{block.where}: there is no verb {verb}"


def check_recipe(block: Block, file: Path) -> None:
    """A whole recipe, or some stages of one."""
    content = parse(block.text, block.where).content_or_scalar
    if "stages" in content:
        file.write_text(block.text, encoding="utf-8")
        load_recipe(file)
    else:
        for stage in content.values():
            STAGES[stage["kind"]].model_validate(stage)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'(?:src|srcset|href)="([^"#]+)"', text)
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing, f"{name(page)} links to {missing}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which `make demo` has run: the demo's names on recipes/tiny.yaml's sizes."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    demo = Block(ROOT / "README.md", 0, "console", "", "$ hanji run recipes/tiny.yaml name=demo\n")
    before = Path.cwd()
    try:
        os.chdir(folder)
        run_page([demo], folder)
    finally:
        os.chdir(before)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first of them makes the checkout
@pytest.mark.parametrize("page", TOLD, ids=name)
def test_the_blocks_of_a_page_run(
    page: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkout"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.chdir(folder)
    defined = run_page(blocks(page), folder)
    for value in defined.values():
        if isinstance(value, type) and issubclass(value, Likelihood) and "loss" in vars(value):
            learns(value(), folder / "runs" / "demo" / "chat" / "current")


def learns(objective: Likelihood, model: Path) -> None:
    """An objective that a page shows has a gradient on a real chat model."""
    tokenizer = Tokenizer.load(model)
    policy = CausalPolicy(load_model(model), pad_id=tokenizer.pad_id)
    chat = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}]
    batch = objective.collate(objective.encode([{"messages": chat}], tokenizer))
    objective.loss(policy, batch).normalised(objective.counts(batch)).backward()
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in policy.parameters())
