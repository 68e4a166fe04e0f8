"""A GGUF file read back: by transformers, and by llama.cpp where it is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from hanji.contracts.errors import HanjiError, ModelError
from hanji.contracts.progress import Progress
from hanji.export.comparison import Comparison, answers_of, compare, differs
from hanji.export.gguf.families import FAMILIES
from hanji.export.subject import TEXTS, Subject
from hanji.tokenizers.tokenizer import Tokenizer

INSTALL: Final = "pip install xllamacpp"
_TOLERANCES: Final[Mapping[str, float]] = {"f32": 1e-4, "f16": 1e-2, "q8_0": 1.5e-1}
"""Of logits, computed in fp32: what rounding the weights may cost a small model."""
_MOST_PROBABLE: Final = 5
_CHAT: Final = [{"role": "user", "content": "What is 한지?"}]


def compare_with_transformers(
    subject: Subject, file: Path, type: str, progress: Progress
) -> list[Comparison]:
    """Transformers' reader, into a fresh model.

    What it leaves at its defaults, whatever the file says, is taken from the model's config.

    Raises:
        ModelError: the logits differ.
    """
    reader = f"transformers {transformers.__version__}"
    progress.note(f"comparing with {reader}")
    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    config = AutoConfig.from_pretrained(**place)
    for name in FAMILIES[subject.config.model_type].unread:
        if hasattr(subject.config, name):
            setattr(config, name, getattr(subject.config, name))
    with redirect_stderr(StringIO()):  # it draws a bar of its own
        model = AutoModelForCausalLM.from_pretrained(**place, config=config, dtype=torch.float32)
    found = answers_of(model, subject.rows)
    what = f"logits of {len(found)} texts"
    return [
        compare(reader, what, found, subject.answers, tolerance=_TOLERANCES[type]),
        _same_ids(f"{reader}, as hanji loads it", Tokenizer.load(file), subject),
    ]


def _same_ids(reader: str, read: Tokenizer, subject: Subject) -> Comparison:
    what = f"token ids of {len(TEXTS)} texts"
    for text in TEXTS:
        found, expected = read.encode_texts([text])[0], subject.tokenizer.encode_texts([text])[0]
        if found.tolist() != expected.tolist():
            raise differs(reader, f"{what}, of {text!r},", found.tolist(), str(expected.tolist()))
    return Comparison(reader, what)


def compare_with_llama_cpp(subject: Subject, file: Path, type: str, progress: Progress) -> list[Comparison]:
    """llama.cpp, in a process of its own: tokens of texts, and the most probable next ones.

    Raises:
        ModelError: they differ, or it cannot read the file.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        progress.note(f"not compared with llama.cpp, which is not installed here: {INSTALL}")
        return []
    progress.note("comparing with llama.cpp")
    tokenizer = subject.tokenizer
    expected = [tokenizer.encode_prompt(text) for text in TEXTS]
    chat = _chat(tokenizer)
    reply = ask_llama_cpp(
        file, texts=TEXTS, chats=[_CHAT] if chat else [], prompts=[row["input_ids"] for row in subject.rows],
        probabilities=_MOST_PROBABLE, whole=expected[0][-1],
    )  # fmt: skip
    reader = f"llama.cpp {reply['version']}"
    if chat and reply["chats"] != [chat]:
        progress.note(f"{reader} writes chats otherwise by this template: give it prompts, not chats")
    for text, found, ids in zip(TEXTS, reply["ids"], expected, strict=True):
        if found != ids:
            raise differs(reader, f"token ids of {text!r}", found, str(ids))
    there, here = [], []
    for probable, answers in zip(reply["probabilities"], subject.answers, strict=True):
        last = answers.view(-1, subject.config.vocab_size)[-1].log_softmax(-1)
        there.append(torch.tensor([value for _, value in probable]))
        here.append(torch.stack([last[index] for index, _ in probable]))
    what = f"log probabilities of {sum(map(len, there))} next tokens"
    tolerance = max(_TOLERANCES[type], FAMILIES[subject.config.model_type].rounding)
    return [
        Comparison(reader, f"token ids of {len(TEXTS)} texts"),
        compare(reader, what, there, here, tolerance=tolerance),
    ]


def _chat(tokenizer: Tokenizer) -> list[int]:
    """The tokens of a small chat; none where there is no template, or one that cannot write it."""
    if tokenizer.chat_template is None:
        return []
    try:
        ids: list[int] = tokenizer.encode_chat(_CHAT, add_generation_prompt=True).ids.tolist()
    except HanjiError:
        return []
    return ids


def ask_llama_cpp(
    file: Path,
    *,
    texts: Sequence[str] = (),
    chats: Sequence[Sequence[Mapping[str, str]]] = (),
    prompts: Sequence[Sequence[int]] = (),
    new_tokens: int = 0,
    probabilities: int = 0,
    whole: int = 0,
) -> dict[str, Any]:
    """What llama.cpp makes of a file, asked in a process of its own, since it ends the process that errs.

    Args:
        texts: to be cut into tokens, with what stands around a text.
        chats: to be written by the template, an answer opened, and cut into tokens.
        prompts: ids, to be continued greedily by `new_tokens`.
        probabilities: how many of the most probable tokens to tell after each prompt; `whole`: the id of any
            token of whole characters, which the server needs for it.

    Returns:
        `version`; `ids` of each text; `chats`: ids of each; `answers`: ids after each prompt;
        `probabilities`: after each prompt, pairs of id and log probability.

    Raises:
        ModelError: it cannot read the file.
    """
    asked = {
        "texts": list(texts), "chats": list(chats), "prompts": list(prompts), "new_tokens": new_tokens,
        "probabilities": probabilities, "whole": whole,
    }  # fmt: skip
    program = Path(__file__).with_name("llama_cpp.py")
    done = subprocess.run(
        [sys.executable, str(program), str(file)], input=json.dumps(asked), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise ModelError(
            "llama.cpp cannot read the file", where=str(file), value=done.stderr.strip()[-180:],
            hint="nothing was kept; this is a fault of hanji or of llama.cpp: please tell us",
        )  # fmt: skip
    reply: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return reply
