"""Numbers as people read them."""

from __future__ import annotations

import math

from hanji.evaluation.report.blocks import Both, Words

NO_BREAK = "\N{NO-BREAK SPACE}"


def amount(value: float) -> str:
    """2_612_480 → `2.61 M`; numbers up to 9,999 in full."""
    if abs(value) >= 9_999.5:
        for power, letter in ((12, "T"), (9, "B"), (6, "M"), (3, "k")):
            if abs(value) >= 0.9995 * 10**power:
                return f"{value / 10**power:.3g}{NO_BREAK}{letter}"
    return f"{value:,.0f}"


def size(value: float) -> str:
    """Bytes in powers of a thousand: 190_000_000 → `190 MB`."""
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if value >= 0.9995 * 10**power:
            return f"{value / 10**power:.3g}{NO_BREAK}{unit}"
    return f"{value:.0f}{NO_BREAK}B"


def duration(seconds: float) -> Words:
    """312.4 → `5 min 12 s`."""
    if seconds < 10:
        return Both(f"{seconds:.1f} s", f"{seconds:.1f}초")
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return Both(f"{days} d {hours} h", f"{days}일 {hours}시간")
    if hours:
        return Both(f"{hours} h {minutes} min", f"{hours}시간 {minutes}분")
    if minutes:
        return Both(f"{minutes} min {whole % 60} s", f"{minutes}분 {whole % 60}초")
    return Both(f"{whole} s", f"{whole}초")


def decimal(value: float, places: int = 3) -> str:
    """1.52341 → `1.523`; what is too large for decimals in powers of ten."""
    if not math.isfinite(value):
        return "–"
    return f"{value:,.{places}f}" if abs(value) < 1e6 else f"{value:.2e}"


def percent(share: float, places: int = 1) -> str:
    """0.0983 → `9.8 %`."""
    return f"{100 * share:.{places}f}{NO_BREAK}%"
