"""`compare`: the ways to adapt a model, each already trained, are scored and told of side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.models import head_in, load_trained
from hanji.contracts.errors import ConfigError, DataError, ModelError, nearest
from hanji.contracts.labels import Labels
from hanji.contracts.protocols import Objective
from hanji.evaluation.comparison import Comparison, Way
from hanji.evaluation.report import write_report
from hanji.evaluation.report.advice import Advice, advise
from hanji.evaluation.report.sections.comparison import sections
from hanji.evaluation.resampling import Quality, scored_rows
from hanji.models.policies import policy_for
from hanji.recipes.context import StageContext
from hanji.recipes.schema import ComparedStage
from hanji.recipes.stages.objectives import make_objective
from hanji.recipes.stages.report_facts import Evaluated, gather
from hanji.recipes.stages.scored_rows import ScoredRows, find_rows, short_name
from hanji.recipes.stages.tokens import location
from hanji.tokenizers.tokenizer import Tokenizer

_WEIGHTS = ".safetensors"
_NO_SCORES = ("tokens", "rows")


def make(
    stage: ComparedStage, inputs: Mapping[str, Artifact | str], work: Path, context: StageContext
) -> dict[str, Any]:
    """Writes `comparison.json`, `report.html`, and `report.md` with `charts/`.

    Raises:
        DataError: no held-out rows. ConfigError: a score that they do not have.
        ModelError: a baseline that cannot do the task.
    """
    began = monotonic()
    scoring = _Scoring(stage, inputs, context)
    references = [*stage.trials, *(stage.baselines or ())]
    ways = []
    for number, reference in enumerate(references):
        context.progress.advance("ways", number, len(references))
        ways.append(scoring.way(reference))
    context.progress.advance("ways", len(references), len(references))
    comparison = scoring.comparison(ways)
    advice = advise(comparison)
    content = as_json(comparison, advice)
    (work / "comparison.json").write_text(
        json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    evaluated = [
        Evaluated(short_name(inputs[reference], context), inputs[reference], way.parameters or 0)
        for reference, way in zip(references, ways, strict=True)
    ]
    report = gather(evaluated, stage, context, seconds=monotonic() - began)
    write_report(report, work, first=sections(comparison, advice))
    qualities = {way.name: way.quality.value for way in ways if way.quality}
    return {"score": comparison.score, "advice": advice.text.en, "quality": qualities}


class _Scoring:
    """The ways of one comparison, scored one after another on the same rows."""

    def __init__(
        self, stage: ComparedStage, inputs: Mapping[str, Artifact | str], context: StageContext
    ) -> None:
        self.stage, self.inputs, self.context = stage, inputs, context
        self.objective = make_objective(stage.objective)
        first = inputs[stage.trials[0]]
        assert isinstance(first, Artifact), "the ways are stages"
        self.first = first
        self.score = stage.score
        self.held_out = ""
        self.rows: int | None = None

    def comparison(self, ways: list[Way]) -> Comparison:
        """All of them, and the one that was not tried."""
        assert self.score is not None
        return Comparison(
            self.score, self.stage.objective.name, [*ways, Way("prompting", "untried")],
            held_out=self.held_out, rows=self.rows, in_training=self.objective.reference,
        )  # fmt: skip

    def way(self, reference: str) -> Way:
        """One line of the comparison."""
        source = self.inputs[reference]
        trial = reference in self.stage.trials
        scores, quality, parameters = self._scored(source, trial)
        metrics: Mapping[str, Any] = source.metrics if isinstance(source, Artifact) else {}
        config: Mapping[str, Any] = source.record.config if isinstance(source, Artifact) else {}
        options = {key: value for key, value in (config.get("method") or {}).items() if key != "name"}
        _, _, comparison = self.context.name.partition("/")
        return Way(
            name=reference.removeprefix(f"{comparison}-") if trial else short_name(source, self.context),
            role="method" if trial else "baseline",
            about=", ".join(f"{name} {_word(value)}" for name, value in options.items()),
            quality=quality,
            scores=scores,
            learning_rate=(config.get("train") or {}).get("learning_rate"),
            steps=metrics.get("steps"),
            parameters=metrics.get("parameters", parameters),
            trained_parameters=metrics.get("trained_parameters"),
            peak_memory_bytes=metrics.get("peak_memory_bytes"),
            seconds=metrics.get("seconds"),
            bytes_on_disk=_weights_bytes(source),
        )

    def _scored(
        self, source: Artifact | str, trial: bool
    ) -> tuple[dict[str, float], Quality | None, int | None]:
        """Scores, quality and number of parameters of one model, which is loaded and let go."""
        if self.objective.reference:
            return *self._of_training(source), None
        head = head_in(location(source))
        if head != self.objective.head:
            raise ModelError(
                f"a baseline of objective {self.objective.name} needs a {self.objective.head} head",
                where=f"baselines: {short_name(source, self.context)}",
                value=f"a {head} head",
                expected=f"a model that was trained by {self.objective.name}, or can be",
            )
        tokenizer = Tokenizer.load(location(source))
        model = load_trained(location(source)).to(self.context.device)
        rows = find_rows(
            source, model.config, head, tokenizer, None, self.context, like=None if trial else self.first
        )
        if rows is None or not any(len(store) for store in rows.held_out):
            raise DataError(
                "there are no held-out rows to compare on",
                where=", ".join(mix.data for mix in self.stage.data),
                hint="prepare the data with a split, as split: {validation: 0.1, test: 0.1}",
            )
        _check_labels(rows.objective, model.config, source, self.context)
        self.score = self.score or _usual_score(rows.objective)
        policy = policy_for(
            head, model, pad_id=tokenizer.pad_id,
            precision=torch.bfloat16 if self.context.device == "cuda" else None,
            progress=self.context.progress,
        )  # fmt: skip
        scores, quality = scored_rows(
            policy, rows.objective, rows.held_out_batches, self.context.device, self.score
        )
        if quality is None:
            raise _unknown_score(self.score, scores, rows)
        if trial:
            self.held_out, self.rows = " + ".join(rows.names), quality.rows
        return scores, quality, sum(parameter.numel() for parameter in model.parameters())

    def _of_training(self, source: Artifact | str) -> tuple[dict[str, float], Quality | None]:
        """What the training ended with on its validation rows, where the model of before is needed."""
        self.score = self.score or "accuracy"
        if not isinstance(source, Artifact):
            return {}, None
        scores = {
            name.removeprefix("validation_"): float(value)
            for name, value in source.metrics.items()
            if name.startswith("validation_")
        }
        if self.score not in scores:
            return scores, None
        low, high = (scores.get(f"{self.score}_{end}") for end in ("low", "high"))
        return scores, Quality(scores[self.score], low, high)


def as_json(comparison: Comparison, advice: Advice) -> dict[str, Any]:
    """The comparison for programs; the figures are those of the table, unrounded."""
    best = comparison.methods[0] if comparison.methods else None
    return {
        "score": comparison.score,
        "lower_is_better": comparison.lower_is_better,
        "objective": comparison.objective,
        "held_out": comparison.held_out,
        "rows": comparison.rows,
        "scored_in_training": comparison.in_training,
        "ways": [_way_as_json(comparison, way, best) for way in comparison.ways],
        "best": best.name if best else None,
        "level_with_the_best": [way.name for way in comparison.level] if best else [],
        "advice": {"take": advice.take, "en": advice.text.en, "ko": advice.text.ko},
    }


def _way_as_json(comparison: Comparison, way: Way, best: Way | None) -> dict[str, Any]:
    behind = None
    if best is not None and way.quality and way is not best:
        found = comparison.difference(best, way)
        behind = {"value": found.value, "low": found.low, "high": found.high, "same_rows": found.paired}
    quality = way.quality and {"value": way.quality.value, "low": way.quality.low, "high": way.quality.high}
    return {
        "name": way.name,
        "role": way.role,
        "options": way.about,
        "quality": quality,
        "behind_the_best": behind,
        "learning_rate": way.learning_rate,
        "steps": way.steps,
        "parameters": way.parameters,
        "trained_parameters": way.trained_parameters,
        "peak_memory_bytes": way.peak_memory_bytes,
        "seconds": way.seconds,
        "bytes_on_disk": way.bytes_on_disk,
        "scores": way.scores,
    }


def _usual_score(objective: Objective) -> str:
    labels: Labels | None = getattr(objective, "labels", None)
    if objective.rows == "labelled" and labels is not None and labels.kind == "number":
        return "pearson"
    return "accuracy" if objective.rows in ("labelled", "preference") else "loss"


def _check_labels(objective: Objective, config: Any, source: Artifact | str, context: StageContext) -> None:
    """Refuses a baseline that was taught other labels than the rows have."""
    labels, own = getattr(objective, "labels", None), Labels.of_config(config)
    if labels is None or objective.rows != "labelled" or (own and own.names == labels.names):
        return
    raise ModelError(
        "a baseline knows other labels than the data has",
        where=f"baselines: {short_name(source, context)}",
        value=", ".join(own.names) if own else "none",
        expected=", ".join(labels.names),
    )


def _unknown_score(score: str, scores: Mapping[str, float], rows: ScoredRows) -> ConfigError:
    known = [name for name in scores if name not in _NO_SCORES and not name.endswith(("_low", "_high"))]
    near = nearest(score, known)
    return ConfigError(
        f"rows of {' + '.join(rows.names)} have no score of this name",
        where="score",
        value=score,
        expected=", ".join(known),
        hint=f"did you mean {near}? Nothing is trained again" if near else "nothing is trained again",
    )


def _weights_bytes(source: Artifact | str) -> float | None:
    """Of the weights in a directory; None for what is elsewhere."""
    place = Path(location(source)).expanduser()
    if not place.is_dir():
        return None
    return float(sum(file.stat().st_size for file in place.rglob(f"*{_WEIGHTS}")))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
