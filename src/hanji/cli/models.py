"""`hanji models`: helps to choose a model, or how much text a model wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hanji.contracts.errors import ConfigError
from hanji.models.catalog import (
    ADAPTER_SIZE,
    LORA_RANK,
    METHODS,
    OPEN_MODELS,
    PROMPT_TOKENS,
    OpenModel,
    find,
    fitting_parameters,
    fitting_tokens,
    trainable_parameters,
    training_bytes,
)
from hanji.models.presets import PRESETS, Preset
from hanji.models.shapes import Kind

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_MICRO_BATCH_TOKENS = 4096
_NEW_FOR_SO_MANY_EPOCHS = 4
"""Repeated so often, text still teaches almost like new text (Muennighoff et al. 2023)."""
_BLANK: dict[Kind, str] = {
    "decoder": "Blank decoders, to pre-train",
    "encoder": "Blank encoders, to pre-train on masked text",
}
_LEARNS: dict[Kind, str] = {
    "decoder": "causal pre-training: the next token",
    "encoder": "masked pre-training: hidden tokens, from both sides",
}


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A preset or a model of the list, in detail.")
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", metavar="N", min=1, help="How much text there is: which size does it fit?"),
    ] = None,
    vocab_size: Annotated[
        int, typer.Option("--vocab-size", min=16, help="Vocabulary that blank models are counted with.")
    ] = 32_000,
    micro_batch_tokens: Annotated[
        int, typer.Option("--micro-batch-tokens", min=1, help="Tokens at once that memory is told for.")
    ] = _MICRO_BATCH_TOKENS,
) -> None:
    """Presets to pre-train, open models to fine-tune, and what each needs on this machine."""
    from hanji.cli.console import show
    from hanji.cli.figures import size

    free = _free()
    if name is not None and tokens is not None:
        raise ConfigError("NAME and --tokens answer different questions", hint="ask one at a time")
    if name is not None:
        show(_detail(find(name), vocab_size, micro_batch_tokens, free))
        return
    if tokens is not None:
        _for_tokens(tokens, vocab_size)
        return
    kinds: tuple[Kind, ...] = ("decoder", "encoder")
    for kind in kinds:
        show(_presets(kind, vocab_size, micro_batch_tokens, free))
    for kind in kinds:
        show(_open_models(kind, micro_batch_tokens, free))
    show(
        f"[dim]Memory: fp32, AdamW, {micro_batch_tokens:,} tokens at once (train.micro_batch_tokens). "
        f"[green]Green[/green] fits: {size(free)} are free.\n"
        f"freeze: the last quarter of the blocks learns; adapter: size {ADAPTER_SIZE}; "
        f"prompt: {PROMPT_TOKENS} tokens; lora: rank {LORA_RANK}.\n"
        "Tokens that fit: 20 for each parameter (Hoffmann et al. 2022); of decoders, which learn from every "
        "token.\n"
        "`hanji models NAME` tells more; `hanji plan RECIPE` tells it exactly.[/]"
    )


def _free() -> float:
    import psutil

    return float(psutil.virtual_memory().available)


def _needs(bytes_needed: float, free: float) -> Text:
    from rich.text import Text

    from hanji.cli.figures import size

    return Text(size(bytes_needed), style="green" if bytes_needed <= free else "red")


def _gigabytes(bytes_needed: float, free: float) -> Text:
    from rich.text import Text

    figure = f"{bytes_needed / 1e9:.1f}" if bytes_needed < 1e10 else f"{bytes_needed / 1e9:.0f}"
    return Text(figure, style="green" if bytes_needed <= free else "red")


def _rounded(parameters: int) -> str:
    return f"{parameters / 1e6:.0f} M" if parameters < 1e9 else f"{parameters / 1e9:.1f} B"


def _table(title: str, columns: tuple[str, ...], left: tuple[str, ...]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    return table


def _presets(kind: Kind, vocab_size: int, micro_batch_tokens: int, free: float) -> Table:
    from hanji.cli.figures import count

    decodes = kind == "decoder"
    columns = ["preset", "parameters", "without embeddings", "context", "tokens that fit", "memory"]
    if not decodes:
        columns.remove("tokens that fit")  # the rule is for models that predict every token
    title = f"{_BLANK[kind]} (vocabulary {vocab_size:,})"
    table = _table(title, tuple(columns), ("preset",))
    family = None
    for preset in PRESETS.values():
        if preset.kind != kind:
            continue
        if family not in (None, preset.family):
            table.add_section()
        family = preset.family
        parameters = preset.parameters(vocab_size)
        needed = training_bytes(preset, parameters, "full", micro_batch_tokens)
        table.add_row(
            f"[bold]{preset.name}[/]", count(parameters), count(preset.non_embedding_parameters),
            f"{preset.context:,}", *([count(fitting_tokens(parameters))] if decodes else []),
            _needs(needed, free),
        )  # fmt: skip
    return table


def _open_models(kind: Kind, micro_batch_tokens: int, free: float) -> Table:
    columns = ("model", "size", "context", "licence", "Korean", *METHODS)
    title = f"Open {kind}s, to fine-tune; memory in GB by method"
    table = _table(title, columns, ("model", "licence"))
    for model in OPEN_MODELS.values():
        if model.shape.kind != kind:
            continue
        needs = [
            training_bytes(model.shape, model.parameters, method, micro_batch_tokens) for method in METHODS
        ]
        table.add_row(
            f"[bold]{model.name}[/]", _rounded(model.parameters), _context(model.context),
            _short(model.licence), "✓" if model.korean else "", *(_gigabytes(need, free) for need in needs),
        )  # fmt: skip
    return table


def _context(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)


def _short(licence: str) -> str:
    return {"EXAONE, non-commercial": "EXAONE NC"}.get(licence, licence.replace(" Community", ""))


def _detail(found: Preset | OpenModel, vocab_size: int, micro_batch_tokens: int, free: float) -> Table:
    from rich.table import Table

    from hanji.cli.figures import count

    shape = found if isinstance(found, Preset) else found.shape
    parameters = shape.parameters(vocab_size) if isinstance(found, Preset) else found.parameters
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("", f"[bold]{found.name}[/]")
    for row in _blank(found, vocab_size) if isinstance(found, Preset) else _published(found):
        table.add_row(*row)
    table.add_row("context", f"{shape.context:,} tokens")
    pairs = "" if shape.heads == shape.key_value_heads else f", {shape.key_value_heads} of keys and values"
    table.add_row(
        "blocks", f"{shape.layers}, {shape.hidden_size} wide, {shape.heads} heads of {shape.head_size}{pairs}"
    )
    table.add_row(
        "feed-forward", f"{shape.intermediate_size:,} wide; head {'tied' if shape.tied else 'not tied'}"
    )
    methods = ("full",) if isinstance(found, Preset) else METHODS
    table.add_row("memory here", f"for {micro_batch_tokens:,} tokens at once")
    for method in methods:
        learning = trainable_parameters(shape, parameters, method)
        line = _needs(training_bytes(shape, parameters, method, micro_batch_tokens), free)
        line.append(f"  {count(learning)} parameters learn", style="dim")
        table.add_row(f"  {method}", line)
    table.add_row("in a recipe", f"[cyan]{_in_a_recipe(found)}[/]")
    return table


def _blank(preset: Preset, vocab_size: int) -> list[tuple[str, str]]:
    from hanji.cli.figures import count

    parameters = preset.parameters(vocab_size)
    rows = [
        ("kind", f"{preset.kind}; {_LEARNS[preset.kind]}"),
        ("parameters", f"{count(parameters)} with a vocabulary of {vocab_size:,}"),
        ("without embeddings", count(preset.non_embedding_parameters)),
    ]
    if preset.kind == "decoder":
        rows.append(("tokens that fit", f"{count(fitting_tokens(parameters))} (20 for each parameter)"))
    return rows


def _published(model: OpenModel) -> list[tuple[str, str]]:
    from hanji.cli.figures import count

    tuned = "follow instructions" if model.chat else "continue text"
    return [
        ("kind", model.shape.kind),
        ("hub id", model.hub_id),
        ("licence", model.licence),
        ("languages", model.languages),
        ("tuned to", tuned if model.shape.kind == "decoder" else "name hidden tokens"),
        ("parameters", f"{count(model.parameters)} ({model.parameters:,})"),
    ]


def _in_a_recipe(found: Preset | OpenModel) -> str:
    if isinstance(found, OpenModel):
        return f"model: {found.hub_id}"
    objective = "\nobjective: mlm" if found.kind == "encoder" else ""
    return f"kind: pretrain\nmodel: {found.name}{objective}"


def _for_tokens(tokens: int, vocab_size: int) -> None:
    """Which size fits so much text, and how far the presets are from it."""
    from hanji.cli.console import show
    from hanji.cli.figures import count

    best = fitting_parameters(tokens)
    repeated = fitting_parameters(tokens * _NEW_FOR_SO_MANY_EPOCHS)
    show(
        f"[bold]{count(tokens)}[/] tokens fit a model of [bold]{count(best)}[/] parameters, at 20 tokens for "
        f"each (Hoffmann et al. 2022).\nGone through {_NEW_FOR_SO_MANY_EPOCHS} times, which teaches almost "
        f"like new text (Muennighoff et al. 2023): {count(repeated)}."
    )
    columns = ("preset", "parameters", "tokens that fit", "times through yours")
    table = _table(f"The nearest decoders (vocabulary {vocab_size:,})", columns, ("preset",))
    decoders = [preset for preset in PRESETS.values() if preset.kind == "decoder"]
    for family in dict.fromkeys(preset.family for preset in decoders):
        own = [preset for preset in decoders if preset.family == family]
        nearest = min(own, key=lambda preset: abs(_ratio(preset, vocab_size, best)))
        parameters = nearest.parameters(vocab_size)
        times = fitting_tokens(parameters) / tokens
        table.add_row(
            f"[bold]{nearest.name}[/]", count(parameters), count(fitting_tokens(parameters)), f"{times:,.1f}"
        )
    show(table)
    smallest = min(preset.parameters(vocab_size) for preset in decoders)
    if smallest > repeated:
        show(
            "[yellow]That is little text even for the smallest preset:[/] take a smaller vocabulary "
            "(--vocab-size shows what it saves), more text, or fine-tune an open model."
        )


def _ratio(preset: Preset, vocab_size: int, parameters: int) -> float:
    import math

    return math.log(preset.parameters(vocab_size) / max(parameters, 1))
