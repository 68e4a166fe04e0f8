"""QLoRA: a LoRA beside matrices that are kept in 4 bits, and so take an eighth of their memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from hanji.contracts.errors import ConfigError
from hanji.contracts.protocols import Encoder
from hanji.methods.lora import Lora, Start
from hanji.methods.quantised import check_runs, quantise, quantization_of


class Qlora(Lora):
    """A LoRA (see `lora`) on a base whose blocks are in 4 bits (Dettmers et al. 2023): NF4, double
    quantisation, computed in fp32 on a CPU and in bf16 on CUDA. Head, embeddings and norms stay as they are.

    What learns corrects the error of the rounding, too: it belongs to the base in 4 bits, and `base.json`
    beside it says so. Merged, it is the rounded matrices that it is added to. It wants bitsandbytes
    (`pip install 'hanji[quantised]'`), and a decomposition of matrices that are rounded afterwards is no
    start for it: `start` is `default`, `gaussian` or `orthogonal`.

    Attributes:
        quantization: arguments of transformers' `BitsAndBytesConfig`, once it is applied.

    Raises:
        ConfigError: an option out of its range, or nothing can be kept in 4 bits here.
    """

    name = "qlora"

    def __init__(
        self,
        rank: int = 16,
        alpha: float | None = None,
        dropout: float = 0.0,
        targets: str | list[str] = "all",
        rslora: bool = False,
        dora: bool = False,
        start: Start = "default",
        biases: bool = False,
    ) -> None:
        super().__init__(rank, alpha, dropout, targets, rslora, dora, start, biases)
        if self._taking:
            raise ConfigError(
                f"start {start} takes a part out of each matrix, so that only the rest is rounded; here the "
                "base is rounded whole, for its digest and for those who load it without this adapter",
                where="method.start",
                value=start,
                expected="default, gaussian or orthogonal, or lora instead of qlora",
            )
        check_runs()
        self.quantization: dict[str, Any] | None = None

    def apply(
        self, model: nn.Module, *, new: Sequence[str] = (), encoder: Encoder | None = None
    ) -> nn.Module:
        """See `contracts.Method`."""
        self.quantization = quantization_of(model)
        quantise(model, self.quantization)
        return super().apply(model, new=new, encoder=encoder)
