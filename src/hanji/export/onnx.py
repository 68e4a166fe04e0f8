"""ONNX, for ONNX Runtime and what is built on it: encoders and classifiers, by transformers' own exporter."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from hanji.contracts.errors import ConfigError
from hanji.contracts.progress import Progress
from hanji.export.comparison import Comparison, Row, compare
from hanji.export.subject import Subject, refuse

FILE: Final = "model.onnx"
_NEEDED: Final = ("onnx", "onnxscript", "onnxruntime")
_TOLERANCE: Final = 1e-4


class Onnx:
    """A directory with `model.onnx`, its weights beside it, config and tokenizer; any batch, any length.

    A LoRA becomes part of the weights; adapters and soft prompts cannot. Models that continue text would need
    their cache as inputs and outputs, and are left to GGUF.
    """

    ending = "-onnx"
    mark = FILE

    def check(self, subject: Subject) -> None:
        """See `exporting.Exporter`: the packages, the head, and what was added."""
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise ConfigError(
                "ONNX needs packages that are not installed here", where="--to", value="onnx",
                expected=", ".join(missing), hint="pip install 'hanji[onnx]'",
            )  # fmt: skip
        if subject.head == "causal":
            raise refuse(
                "this model continues text, and would do so without a cache in ONNX",
                value=subject.config.model_type,
                expected="an encoder, a classifier or a reward model",
                hint="export it with --to gguf, or --to merged",
            )
        subject.check_whole()

    def write(self, subject: Subject, work: Path, target: Path, progress: Progress) -> None:
        """See `exporting.Exporter`; traced on a padded batch, with every size left open."""
        from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

        model = subject.whole()
        model.config.use_cache = False  # a classifier that is a decoder gives scores, not keys and values
        batch = _padded(subject.rows[:2], subject.tokenizer.pad_id)
        progress.note("tracing the model")
        with _quiet():
            traced = OnnxExporter().export(model, batch, config=OnnxConfig(dynamic=True))
            traced.save_pretrained(str(work))
        subject.tokenizer.save(work)

    def compare(self, subject: Subject, work: Path, progress: Progress) -> list[Comparison]:
        """ONNX Runtime runs each text alone, and all of them padded as one batch."""
        import onnxruntime

        reader = f"ONNX Runtime {onnxruntime.__version__}"
        progress.note(f"comparing with {reader}")
        session = onnxruntime.InferenceSession(str(work / FILE), providers=["CPUExecutionProvider"])
        rows, pad_id = subject.rows, subject.tokenizer.pad_id
        alone = [_run(session, [row], pad_id)[0] for row in rows]
        together = _run(session, rows, pad_id)
        return [
            compare(
                reader, f"logits of {len(rows)} texts {how}", found, subject.answers, tolerance=_TOLERANCE
            )
            for how, found in (("one by one", alone), ("in a batch", together))
        ]


def _padded(rows: Sequence[Row], pad_id: int) -> dict[str, Tensor]:
    """[rows, longest] of each input, padded on the right."""
    longest = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": pad_id}
    return {
        name: torch.tensor([[*row[name], *[fill.get(name, 0)] * (longest - len(row[name]))] for row in rows])
        for name in rows[0]
    }


def _run(session: Any, rows: Sequence[Row], pad_id: int) -> list[Tensor]:
    """For each row all that the model says of it, in the order of `comparison.flat`."""
    batch = {name: tensor.numpy() for name, tensor in _padded(rows, pad_id).items()}
    outputs = session.run(None, {wanted.name: batch[wanted.name] for wanted in session.get_inputs()})
    return [
        torch.cat([_of_row(torch.from_numpy(output[number]), len(row["input_ids"])) for output in outputs])
        for number, row in enumerate(rows)
    ]


def _of_row(output: Tensor, length: int) -> Tensor:
    """[length, values] without padding, or [values] of the whole row; flat."""
    return (output[:length] if output.ndim == 2 else output).flatten().float()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters print and warn of on their way."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
