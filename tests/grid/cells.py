"""What the contract suite runs over: every family × method × objective, of which the registries know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

from transformers import CONFIG_MAPPING, PretrainedConfig

from hanji.contracts.protocols import Head, Method, Objective
from hanji.methods import METHODS
from hanji.models.heads import why_not
from hanji.objectives import OBJECTIVES
from hanji.recipes.support import FROM_NOTHING
from tiny_models import ENCODERS, FAMILIES

Test = TypeVar("Test", bound=Callable[..., None])

QUICK: Final = ("llama", "gpt2", "bert", "modernbert")
DECODERS: Final = ("llama", "gpt2", "qwen3")
ENCODING: Final = ("bert", "roberta", "modernbert", "albert")

OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "freeze": {"top_layers": 1},
    "adapter": {"reduction_factor": 4},
    "prompt": {"length": 6},
    "lora": {"rank": 4},
    "qlora": {"rank": 4},
}
"""Options of methods for models as narrow as these; a method that is not here has its own defaults."""

VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "pissa": {"start": "pissa"},
    "pissa-fast": {"start": "pissa_niter_16", "targets": "attention"},
    "olora": {"start": "olora", "rslora": True},
    "dora": {"dora": True, "biases": True},
}
"""Further options of `lora`, of which a few cells are held to the same contract."""

LEARNING_RATES: Final[Mapping[str, float]] = {"full": 5e-3, "prompt": 0.02}
OTHER_LEARNING_RATE: Final = 2e-2


@dataclass(frozen=True, slots=True)
class Cell:
    """One training stage of the grid.

    Attributes:
        method: None where a blank model is trained, by `pretrain`.
        variant: one of `VARIANTS`, if any.
    """

    family: str
    method: str | None
    objective: str
    variant: str = ""

    def __str__(self) -> str:
        method = f"{self.method or 'blank'}{self.variant and f':{self.variant}'}"
        return f"{self.family}-{method}-{self.objective}"

    @property
    def options(self) -> dict[str, Any]:
        """Of its method."""
        return {**OPTIONS.get(self.method or "", {}), **VARIANTS.get(self.variant, {})}

    @property
    def head(self) -> Head:
        return load_objective(self.objective).head

    @property
    def quick(self) -> bool:
        return self.family in QUICK

    @property
    def adds(self) -> bool:
        """Whether its method leaves the model as it is."""
        return self.method is not None and load_method(self.method).adds

    @property
    def merges(self) -> bool:
        return self.method is not None and load_method(self.method).merges

    @property
    def reason(self) -> str | None:
        """Why it cannot be; None where it can."""
        return why_not(config(self.family), self.head)


def every_cell() -> Iterator[Cell]:
    """Those that can be and those that cannot, in the order of the registries."""
    for family in (*DECODERS, *ENCODING):
        for objective in OBJECTIVES:
            if objective in FROM_NOTHING:
                yield Cell(family, None, objective)
            for method in METHODS:
                yield Cell(family, method, objective)


def variants() -> Iterator[Cell]:
    """A few cells of each variant of LoRA."""
    yield Cell("llama", "lora", "sft", "pissa")
    yield Cell("gpt2", "lora", "dpo", "pissa")
    yield Cell("bert", "lora", "mlm+nsp", "pissa-fast")
    yield Cell("gpt2", "lora", "classify", "olora")
    yield Cell("modernbert", "lora", "mlm", "olora")
    yield Cell("gpt2", "lora", "dpo", "dora")
    yield Cell("gpt2", "qlora", "dpo", "dora")


def of(which: Callable[[Cell], bool]) -> Callable[[Test], Test]:
    """Marks a test of the fixture `trained` as one of these cells only."""

    def mark(test: Test) -> Test:
        test.asked_of = which  # type: ignore[attr-defined]
        return test

    return mark


def shape(family: str) -> dict[str, Any]:
    """Of a tiny model, as a recipe says it: special tokens are the tokenizer's."""
    fields = {**FAMILIES, **ENCODERS}[family]
    own = {name: value for name, value in fields.items() if not name.endswith("_token_id")}
    if every := own.pop("global_attn_every_n_layers", None):  # a shorthand that no config keeps
        reach = ("full_attention", "sliding_attention")
        own["layer_types"] = [reach[number % every > 0] for number in range(own["num_hidden_layers"])]
    return {"model_type": family, **own}


@cache
def config(family: str) -> PretrainedConfig:
    """Of a tiny model of the family."""
    fields = shape(family)
    return CONFIG_MAPPING[fields.pop("model_type")](**fields)


@cache
def load_method(name: str) -> type[Method]:
    return METHODS.load(name)  # type: ignore[no-any-return]


@cache
def load_objective(name: str) -> type[Objective]:
    return OBJECTIVES.load(name)  # type: ignore[no-any-return]
