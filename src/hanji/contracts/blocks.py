"""Where a model's transformer blocks are: methods choose among them, and ranks share them out one by one."""

from __future__ import annotations

from torch import nn


def block_list(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The transformer blocks, first to last, and the list's name: the outermost list of modules, the longest
    of equals; an empty one where there is none."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    empty = ("", nn.ModuleList())
    return min(lists, key=lambda named: (named[0].count("."), -len(named[1])), default=empty)
