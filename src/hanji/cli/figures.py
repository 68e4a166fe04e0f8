"""Figures as people read them: `1.9 GB`, `2m 31s`, `loss 4.21`."""

from __future__ import annotations

from collections.abc import Mapping


def seconds(value: float) -> str:
    """`0.4s`, `12s`, `2m 31s`, `3h 05m`."""
    if value < 10:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def size(value: float) -> str:
    """Bytes in powers of a thousand: `512 B`, `1.9 GB`."""
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def count(value: float) -> str:
    """`950`, `12,400`, `2.6 M`, `1.3 B`."""
    if value < 1_000_000:
        return f"{value:,.0f}"
    return f"{value / 1e6:,.1f} M" if value < 1e9 else f"{value / 1e9:,.1f} B"


_COUNTED = ("rows", "tokens", "texts")
"""Figures that are whole numbers, though a Progress is handed floats."""


def figure(name: str, value: float) -> str:
    """A named figure of a progress line."""
    match name:
        case "memory_bytes":
            return size(value)
        case "tokens_per_second":
            return f"{value:,.0f} tokens/s"
        case "learning_rate":
            return f"learning rate {value:.3g}"
    words = name.replace("_", " ")
    if isinstance(value, int) or name in _COUNTED:
        return f"{count(value)} {words}"
    return f"{words} {value:.4g}" if value < 0.1 else f"{words} {value:.3f}"


_FIGURES = {
    "vocabulary_size": "vocabulary {}",
    "validation_loss": "validation loss {}",
    "validation_bits_per_byte": "{} bits per byte",
    "parameters": "{} parameters",
}


def summary(metrics: Mapping[str, object], most: int = 4) -> str:
    """The `most` most telling figures of an artifact's metrics, in a line."""
    told: list[str] = []
    splits = metrics.get("splits")
    if isinstance(splits, dict):
        told += [f"{count(split['rows'])} {name} rows" for name, split in splits.items()]
    for name, words in _FIGURES.items():
        value = metrics.get(name)
        if isinstance(value, int | float):
            told.append(words.format(count(value) if isinstance(value, int) else f"{value:.3f}"))
    return " · ".join(told[:most])
