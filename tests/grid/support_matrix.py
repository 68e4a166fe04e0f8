"""The support matrix as a page of the docs: what the registries and the models say, and this suite proves.

Run `PYTHONPATH=tests python -m grid.support_matrix > docs/reference/support-matrix.md` from the checkout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from transformers import CONFIG_MAPPING
from transformers.utils import logging as transformers_logging

from grid.cells import DECODERS, ENCODING, OPTIONS, Cell, load_method, load_objective
from hanji.contracts.errors import ConfigError
from hanji.contracts.protocols import Head
from hanji.methods import METHODS
from hanji.models.heads import is_encoder, why_not
from hanji.models.policies import policy_for
from hanji.objectives import OBJECTIVES
from hanji.recipes.support import FROM_NOTHING
from tiny_models import ENCODERS, FAMILIES, tiny

BEFORE: Final = """\
# Support matrix

What is trained, which parameters learn, and what is minimised are chosen apart from each other. Every ✓ below
is a whole stage that the [contract suite](../../tests/grid) runs on tiny models of the families named, and of
which it checks that

- the loss falls, what is frozen keeps every bit, and what learns changes;
- the saved directory gives the same outputs again: here, in plain transformers (whole models), in plain PEFT
  (`lora`, `prompt`; `qlora` on a base that transformers quantises as `base.json` says), in PEFT after
  `import hanji` (`adapter`);
- switched off, what was added leaves the base model to the bit (`qlora`: the base in 4 bits); merged, a `lora`
  or `qlora` gives the same;
- stopped and resumed, the run saves the same bytes; packed, documents give what they give padded.

So are a few cells of each variant of LoRA: `start: pissa`, `pissa_niter_16` and `olora`, `rslora`, `dora`, `biases`.

Everything else is refused with its reason before weights are loaded. The suite makes this page, too, and
fails where it is not current: `PYTHONPATH=tests python -m grid.support_matrix > docs/reference/support-matrix.md`.
"""  # noqa: E501 - a command is not broken

PATHS: Final = """\
## Families

Any model of transformers can be tried: at load, a probe asks the model itself which path is right for it. So
it finds for tiny models of these families.

- **packed**: documents lie end to end and see only themselves. **padded**: they are rows of a rectangle, as
  exact and slower, where the architecture does not let its attention be replaced, or wants what ours does not
  compute.
- **whole head**: the model's own forward gives logits of all tokens, where its head is more than a matrix;
  else the head runs at trained positions only, with less memory.
- **without**: methods that find no place in the architecture, and say so when they are applied.
"""

_RAISED: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Footnotes:
    """Numbers reasons in the order in which they are first given."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reason: str) -> str:
        """The raised number that stands for the reason."""
        return str(self._numbers.setdefault(reason, len(self._numbers) + 1)).translate(_RAISED)

    def lines(self) -> Iterator[str]:
        for reason, number in self._numbers.items():
            yield f"{str(number).translate(_RAISED)} {reason[0].upper()}{reason[1:]}.  "


def markdown() -> str:
    """The whole page."""
    parts = [
        BEFORE,
        _matrix("Decoders", DECODERS),
        _matrix("Encoders", ENCODING),
        f"{PATHS}\n{_facts()}",
    ]
    return "\n".join(parts)


def _matrix(title: str, families: Sequence[str]) -> str:
    notes = Footnotes()
    lines = [f"## {title}", "", f"On {_listed(families)}.", ""]
    lines += _table_head(["objective", "rows", "blank model", *METHODS])
    for objective in OBJECTIVES:
        cells = [_mark(objective, method, families, notes) for method in (None, *METHODS)]
        lines.append(_line([f"`{objective}`", load_objective(objective).rows, *cells]))
    return "\n".join([*lines, "", *notes.lines(), ""])


def _mark(objective: str, method: str | None, families: Sequence[str], notes: Footnotes) -> str:
    """✓ where all families can, or some; and a footnote for those that cannot."""
    cells = [Cell(family, method, objective) for family in families]
    can = [cell.family for cell in cells if cell.reason is None]
    if can and method is None and objective not in FROM_NOTHING:
        return f"–{notes.mark(f'a blank model can learn by {_listed(FROM_NOTHING)} only')}"
    if len(can) == len(families):
        return "✓"
    reasons = {str(cell.reason): cell.family for cell in cells if cell.reason is not None}
    assert len(reasons) == 1, f"{objective}: one footnote cannot say {reasons}"
    (reason,) = reasons
    if not can:
        return f"–{notes.mark(reason)}"
    others = [family for family in families if family not in can]
    return f"✓{notes.mark(f'{_listed(can)} only; of {_listed(others)}: {reason}')}"


def _facts() -> str:
    lines = _table_head(["family", "kind", "head of pre-training", "classification", "without"])
    for family, fields in {**FAMILIES, **ENCODERS}.items():
        config = CONFIG_MAPPING[family](**fields)
        heads: tuple[Head, ...] = ("pretraining", "masked") if is_encoder(config) else ("causal",)
        found = [_path(family, head) for head in heads if why_not(config, head) is None]
        assert len(set(found)) == 1, f"{family}: {found}"
        own = [f"`{head}`" for head in reversed(heads) if why_not(config, head) is None]
        scores = "–" if why_not(config, "classification") else _path(family, "classification")
        refused = [f"`{method}`" for method in METHODS if not _applies(method, family, heads[-1])]
        kind = "encoder" if is_encoder(config) else "decoder"
        lines.append(
            _line([family, kind, f"{', '.join(own)}: {found[0]}", scores, ", ".join(refused) or "–"])
        )
    return "\n".join([*lines, ""])


def _path(family: str, head: Head) -> str:
    model = tiny(family, head)
    policy = policy_for(head, model, pad_id=model.config.pad_token_id)
    way = "packed" if policy.packed_up_to else "padded"
    return way if policy.own_head else f"{way}, whole head"


def _applies(method: str, family: str, head: Head) -> bool:
    made: Any = load_method(method)
    try:
        made(**OPTIONS.get(method, {})).apply(tiny(family, head))
    except ConfigError:
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    *others, last = [f"`{name}`" for name in names]
    return f"{', '.join(others)} and {last}" if others else last


def _table_head(names: Sequence[str]) -> list[str]:
    return [_line(names), _line(["---"] * len(names))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    transformers_logging.set_verbosity_error()
    print(markdown(), end="")
