"""`evaluate`: models are scored on held-out rows, asked the same prompts, and told of in a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.models import head_in, load_trained
from hanji.contracts.errors import ConfigError
from hanji.evaluation.report import write_report
from hanji.evaluation.scores import measure
from hanji.evaluation.subject import Subject
from hanji.generation import Generation, generate
from hanji.models.policies import policy_for
from hanji.recipes.context import StageContext
from hanji.recipes.schema import EvaluateStage
from hanji.recipes.stages.objectives import make_objective
from hanji.recipes.stages.report_facts import Evaluated, gather
from hanji.recipes.stages.scored_rows import find_rows, origin, short_name
from hanji.recipes.stages.tokens import location
from hanji.tokenizers.tokenizer import Tokenizer


def make(
    stage: EvaluateStage, inputs: Mapping[str, Artifact | str], work: Path, context: StageContext
) -> dict[str, Any]:
    """Writes `report.html`, `report.md` with `charts/`, `scores.json` and `samples.json`.

    Raises:
        ConfigError: models that are called the same.
    """
    began = monotonic()
    names = {reference: short_name(inputs[reference], context) for reference in stage.models}
    if len(set(names.values())) < len(stage.models):
        raise ConfigError("two models are called the same", where="models", value=list(names.values()))
    evaluated = []
    for number, reference in enumerate(stage.models):
        context.progress.advance("models", number, len(stage.models))
        given_data = inputs[stage.data] if stage.data else None
        evaluated.append(_evaluate(names[reference], inputs[reference], given_data, stage, context))
    context.progress.advance("models", len(stage.models), len(stage.models))
    scores = {model.name: model.scores for model in evaluated}
    _write_json(work / "scores.json", scores)
    _write_json(work / "samples.json", _samples(stage.prompts, evaluated))
    seconds = monotonic() - began
    write_report(gather(evaluated, stage, context, seconds=seconds, prompts=stage.prompts), work)
    return {"scores": scores}


def _evaluate(
    name: str,
    source: Artifact | str,
    data: Artifact | str | None,
    stage: EvaluateStage,
    context: StageContext,
) -> Evaluated:
    """Loads one model, asks and scores it, and lets it go."""
    tokenizer = Tokenizer.load(location(source))
    precision = torch.bfloat16 if context.device == "cuda" else None
    model, head = load_trained(location(source)).to(context.device), head_in(location(source))
    rows = find_rows(source, model.config, head, tokenizer, data, context)
    chats = _chats(source, tokenizer, context)
    answers = _ask(model, tokenizer, chats, stage, context) if head == "causal" else []
    subject = Subject(
        policy=policy_for(
            head, model, pad_id=tokenizer.pad_id, precision=precision, progress=context.progress
        ),
        device=context.device,
        vocabulary_size=tokenizer.vocabulary_size,
        objective=rows.objective if rows else None,
        training=rows.training_batches if rows and rows.training else None,
        held_out=rows.held_out_batches if rows and rows.held_out else None,
        answers=answers,
        chats=chats,
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    scores = measure(subject)
    return Evaluated(name, source, parameters, scores, " + ".join(rows.names) if rows else "", list(answers))


def _ask(
    model: Any, tokenizer: Tokenizer, chats: bool, stage: EvaluateStage, context: StageContext
) -> list[Generation]:
    """Chat models are asked, the others continue the prompt."""
    if not stage.prompts:
        return []
    prompts = [
        tokenizer.encode_chat([{"role": "user", "content": prompt}], add_generation_prompt=True).ids.tolist()
        if chats
        else tokenizer.encode_prompt(prompt)
        for prompt in stage.prompts
    ]
    return generate(
        model, tokenizer, prompts,
        max_new_tokens=stage.max_new_tokens, temperature=stage.temperature, seed=context.seed,
    )  # fmt: skip


def _chats(source: Artifact | str, tokenizer: Tokenizer, context: StageContext) -> bool:
    """Whether the model learned from chats, itself or before; from outside: whether it has a template."""
    if isinstance(source, str):
        return tokenizer.chat_template is not None
    config = source.record.config
    if source.kind != "finetune":
        return False
    if make_objective(config["objective"]).rows in ("chat", "preference"):
        return True
    return _chats(origin(source, config["model"], context), tokenizer, context)


def _samples(prompts: tuple[str, ...], evaluated: list[Evaluated]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": prompt,
            "answers": {
                model.name: {
                    "text": model.answers[number].text,
                    "finish_reason": model.answers[number].finish_reason,
                    "tokens": len(model.answers[number].ids),
                }
                for model in evaluated
                if model.answers
            },
        }
        for number, prompt in enumerate(prompts)
    ]


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
