"""Which objectives and methods a stage accepts, with which options; the rest is refused before a load."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from hanji.contracts.errors import HanjiError, nearest
from hanji.contracts.registry import Registry
from hanji.methods import METHODS
from hanji.objectives import OBJECTIVES

FROM_NOTHING = ("clm", "mlm", "mlm+nsp", "mlm+sop", "classify")
"""Objectives that can train a blank model; every registered one can train a trained model further."""

AGAINST_REFERENCE = ("dpo",)
"""Objectives that score a model against the one before its training."""

PAIRS_DOCUMENTS = ("mlm+nsp",)
"""Objectives that put texts of two documents together."""

_LIKELIHOOD = ("loss", "perplexity", "bits_per_byte", "accuracy")
_MASKED = ("loss", "perplexity", "accuracy")
_PAIRS = ("accuracy", "loss", "reward_chosen", "reward_rejected")
OF_LABELS: Mapping[str, tuple[str, ...]] = {
    "classes": ("accuracy", "macro_f1", "matthews", "loss"),
    "several": ("accuracy", "macro_f1", "loss"),
    "number": ("pearson", "spearman", "mean_squared_error", "loss"),
}
"""Kind of label → what rows with such labels can be scored by."""
SCORES: Mapping[str, tuple[str, ...]] = {
    "clm": _LIKELIHOOD,
    "sft": _LIKELIHOOD,
    "mlm": _MASKED,
    "mlm+nsp": (*_MASKED, "next_sentence_accuracy"),
    "mlm+sop": (*_MASKED, "sentence_order_accuracy"),
    "classify": tuple(dict.fromkeys(score for scores in OF_LABELS.values() for score in scores)),
    "reward": _PAIRS,
    "dpo": _PAIRS,
}  # fmt: skip
"""Objective → what held-out rows can be scored by; of an objective that is not here, that is seen when they
are."""


_QUANTISED = "a LoRA on a base in 4 bits is a method of its own; take qlora, with the same options"
_METHODS_NOT_HERE: Mapping[str, str] = {
    "prefix": "prefix tuning gives vectors to every layer's attention, which packed rows cannot hold; take"
    " prompt, whose vectors stand before the text as tokens do, or lora",
}
"""Methods that others have, and why they are not here; a registered one of the name comes first."""

_OPTIONS_NOT_HERE: Mapping[tuple[str, str], str] = {
    ("lora", name): _QUANTISED for name in ("base", "bits", "load_in_4bit", "load_in_8bit", "quantization")
}
"""The same of options, by method."""

NOT_EVERYWHERE = ("qlora",)
"""What needs more than is always installed, so that even without options it is seen whether it can be."""


def check_score(objective: str, score: str) -> None:
    """Refuses a score that the objective's held-out rows never have.

    Raises:
        ValueError: saying which there are.
    """
    if objective in SCORES:
        _known(f"score of {objective} called", score, SCORES[objective])


def check_objective(name: str) -> str:
    """`name`, if it is a registered objective.

    Raises:
        ValueError: saying which there are.
    """
    return _known("objective", name, OBJECTIVES)


def check_from_nothing(name: str) -> None:
    """Refuses an objective that cannot train a blank model.

    Raises:
        ValueError: saying which can.
    """
    if name in OBJECTIVES and name not in FROM_NOTHING:
        raise ValueError(
            f"pretrain does not support {name}, which teaches a model that can read already; "
            f"it supports {', '.join(FROM_NOTHING)}"
        )


def check_method(name: str) -> str:
    """`name`, if it is a registered method.

    Raises:
        ValueError: saying which there are, and of some known ones why they are none of them.
    """
    common = name.lower().replace("_", "-").removesuffix("-tuning")
    if name not in METHODS and (reason := _METHODS_NOT_HERE.get(common)):
        raise ValueError(f"there is no method {name}: {reason}")
    return _known("method", name, METHODS)


def check_options(registry: Registry, name: str, options: Mapping[str, Any]) -> None:
    """Refuses options that what is registered under `name` does not have, or not with such values.

    Only where there are options is its code imported, and with it torch; and of what cannot run everywhere.

    Raises:
        ValueError: naming the option and what is allowed.
    """
    if not options and name not in NOT_EVERYWHERE:
        return
    made = registry.load(name)
    signature = inspect.signature(made)
    for option in options:
        if option not in signature.parameters:
            if reason := _OPTIONS_NOT_HERE.get((name, option)):
                raise ValueError(f"{name} has no option {option}: {reason}")
            near = nearest(option, signature.parameters)
            raise ValueError(
                f"{name} has no option {option}; it has {', '.join(signature.parameters) or 'none'}"
                + (f" (did you mean {near}?)" if near else "")
            )
    hints = get_type_hints(made.__init__)
    fields: dict[str, Any] = {
        option: (hints[option], ...) for option in options if option in hints
    }  # of a class without hints nothing can be checked
    strict = ConfigDict(extra="allow", strict=False, allow_inf_nan=False)
    try:
        create_model(name, __config__=strict, **fields).model_validate(dict(options))
        made(**options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = ".".join(map(str, first["loc"][:1]))
        raise ValueError(f"{name}: {option} cannot be {first['input']!r}: {first['msg']}") from error
    except HanjiError as error:
        told = [error.problem, f"found {error.value}" if error.value else "", error.expected or ""]
        raise ValueError(f"{name}: " + "; ".join(filter(None, told))) from error


def objective_schema(kind: str = "finetune") -> dict[str, Any]:
    """The names for editors to offer."""
    return {"type": "string", "enum": list(OBJECTIVES if kind == "finetune" else FROM_NOTHING)}


def method_schema() -> dict[str, Any]:
    """The names for editors to offer."""
    return {"type": "string", "enum": list(METHODS)}


def _known(what: str, name: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    if name in names:
        return name
    near = nearest(name, names)
    raise ValueError(
        f"there is no {what} {name}; there is {', '.join(names)}"
        + (f" (did you mean {near}?)" if near else "")
    )
