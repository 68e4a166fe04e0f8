"""Where adapters work in the model: a module with the parts of all slots, and a table of prompts."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.activations import ACT2FN

from hanji.generation.adapters.files import Part
from hanji.generation.invariance import in_vectors
from hanji.generation.slots import current_step, is_stepping
from hanji.methods.bottleneck.sites import feed_forward_input, linear_modules
from hanji.methods.prompt import look_up


class Site:
    """The parts of all slots at one module, of one form. Where there are any, the module has a hook.

    Args:
        name: of the module in `model`.
        part: one of that form.

    Attributes:
        users: slots whose adapter has a part here.
    """

    def __init__(self, model: nn.Module, name: str, slots: int, part: Part) -> None:
        self.module, self.catching = model.get_submodule(name), _catching(model, name, part)
        self.slots, self.reads, self.activation = slots, part.reads, part.activation
        self.hooks: list[RemovableHandle] = []
        self.act = nn.Identity() if part.activation is None else ACT2FN[part.activation]
        self.has_bias = part.up_bias is not None
        self.users: set[int] = set()
        self.caught: Tensor | None = None
        like, out, into = part.down.new_zeros, len(part.up), part.down.shape[1]
        self.down, self.down_bias = like((slots, 0, into)), like((slots, 0))
        self.up, self.up_bias = like((slots, 0, out)), like((slots, out))

    def put(self, slot: int, part: Part | None) -> None:
        """Gives a slot its part, or none."""
        if part is None and slot not in self.users:
            return
        rank = 0 if part is None else len(part.down)
        if (more := rank - self.down.shape[1]) > 0:
            self.down = F.pad(self.down, (0, 0, 0, more))
            self.down_bias = F.pad(self.down_bias, (0, more))
            self.up = F.pad(self.up, (0, 0, 0, more))
        for tensor in (self.down, self.down_bias, self.up, self.up_bias):
            tensor[slot].zero_()
        self.users.discard(slot)
        if part is None:
            if not self.users:
                self.close()
            return
        self.down[slot, :rank] = part.down
        self.up[slot, :rank] = part.up.t()
        if part.down_bias is not None:
            self.down_bias[slot, :rank] = part.down_bias
        if part.up_bias is not None:
            self.up_bias[slot], self.has_bias = part.up_bias, True
        self.users.add(slot)
        if not self.hooks:
            self._hook()

    def close(self) -> None:
        """The module is as it was."""
        for hook in self.hooks:
            hook.remove()
        self.hooks.clear()

    def _hook(self) -> None:
        self.hooks.append(self.module.register_forward_hook(partial(_add, self)))
        if self.catching is not None:
            self.hooks.append(self.catching.register_forward_pre_hook(partial(_catch, self)))

    def add(self, output: Tensor, read: Tensor) -> Tensor:
        """[1, tokens, width] with what the adapters of the tokens' slots add; `output` is written to."""
        step = current_step()
        if step.segments is None or step.leading == self.slots:
            self._add_to_each_slot(output[0, : self.slots], read[0, : self.slots])
        elif any(one.tokens == 1 and one.slot in self.users for one in step.segments):
            firsts, slots = step.ones
            outputs, reads = (each.new_zeros((self.slots, each.shape[2])) for each in (output, read))
            outputs[slots], reads[slots] = output[0, firsts], read[0, firsts]
            self._add_to_each_slot(outputs, reads)
            output[0, firsts] = outputs[slots]
        for one in step.segments or ():
            if one.tokens > 1 and one.slot in self.users:
                place = slice(one.first, one.first + one.tokens)
                output[0, place] += self._of_one_slot(one.slot, read[0, place])
        return output

    def _add_to_each_slot(self, output: Tensor, read: Tensor) -> None:
        """Both [slots, width], one token of each."""
        hidden = torch.baddbmm(self.down_bias[:, None], read[:, None], self.down.transpose(1, 2))
        if self.activation is not None:
            hidden = in_vectors(self.act, hidden)
        output[:, None].baddbmm_(hidden, self.up)
        if self.has_bias:
            output += self.up_bias

    def _of_one_slot(self, slot: int, read: Tensor) -> Tensor:
        """[tokens, width]"""
        hidden = self.act(torch.addmm(self.down_bias[slot], read, self.down[slot].t()))
        return torch.addmm(self.up_bias[slot], hidden, self.up[slot])

    @property
    def works(self) -> bool:
        """Whether any row of the present step, if there is one, has a part here."""
        if not self.users or not is_stepping():
            return False
        step = current_step()
        return step.segments is None or not self.users.isdisjoint(step.at_work)


def _catching(model: nn.Module, name: str, part: Part) -> nn.Module | None:
    """The module that reads what the part reads, where this one does not."""
    if part.reads != "feed-forward":
        return None
    first = feed_forward_input(linear_modules(model), name)
    assert first is not None, name
    return model.get_submodule(first)


def _catch(site: Site, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if site.works:
        site.caught = inputs[0]


def _add(site: Site, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    if not site.works:
        return None
    read = output if site.reads == "output" else inputs[0]
    if site.reads == "feed-forward":
        assert site.caught is not None
        read, site.caught = site.caught, None
    return site.add(output, read)


class PromptTable(nn.Module):
    """The model's input embedding, with the vectors of several soft prompts for the ids past its end."""

    def __init__(self, base: nn.Embedding) -> None:
        super().__init__()
        self.base = base
        self.vectors = base.weight.new_zeros((0, base.weight.shape[1]))

    @property
    def weight(self) -> Tensor:
        """[vocabulary, embedding size] of the model's own embedding."""
        return self.base.weight

    def add(self, prompt: Tensor) -> int:
        """The id of the prompt's first vector."""
        first = self.base.weight.shape[0] + len(self.vectors)
        self.vectors = torch.cat([self.vectors, prompt.to(self.vectors)])
        return first

    def forward(self, ids: Tensor) -> Tensor:
        """ids: [...] → [..., embedding size]"""
        return look_up(self.base, self.vectors, ids)
