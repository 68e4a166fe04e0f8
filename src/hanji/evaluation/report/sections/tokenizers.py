"""How many tokens a tokenizer spends on each script."""

from __future__ import annotations

from hanji.evaluation.report import charts
from hanji.evaluation.report.blocks import Block, Both, Chart, Charts, Paragraph, Section, Table, Words
from hanji.evaluation.report.data import ReportData, TokenizerFacts
from hanji.evaluation.report.figures import amount, decimal, percent

_ALL = "all"
_SCRIPTS = {
    "Hangul": Both("Hangul", "한글"),
    "Han": Both("Han", "한자"),
    "Kana": Both("Kana", "가나"),
    "Latin": Both("Latin", "라틴 문자"),
    "Cyrillic": Both("Cyrillic", "키릴 문자"),
    "digits": Both("digits", "숫자"),
    "punctuation and code": Both("punctuation and code", "기호와 코드"),
    "other letters": Both("other letters", "기타 문자"),
    _ALL: Both("everything", "전체"),
}


def section(report: ReportData) -> Section | None:
    """A table and a chart for each tokenizer that was measured."""
    blocks: list[Block] = []
    for number, tokenizer in enumerate(report.tokenizers, 1):
        if tokenizer.fertility:
            blocks += [_table(tokenizer), Charts([_chart(tokenizer, f"fertility-{number}")])]
    if not blocks:
        return None
    about = Both(
        "The more bytes a token holds, the further a context and a budget reach.",
        "토큰 하나가 담는 바이트가 많을수록 같은 문맥 길이와 예산으로 더 많은 글을 다룹니다.",
    )
    return Section("tokenizer", Both("Tokenizer", "토크나이저"), [*blocks, Paragraph(about)])


def _script(name: str) -> Both:
    return _SCRIPTS.get(name, Both(name, name))


def _by_share(tokenizer: TokenizerFacts) -> list[str]:
    """The most frequent script first; everything together last."""
    figures = tokenizer.fertility
    return sorted(figures, key=lambda script: (script == _ALL, -figures[script]["characters"]))


def _table(tokenizer: TokenizerFacts) -> Table:
    everything = tokenizer.fertility.get(_ALL)
    total = (
        everything["characters"]
        if everything
        else sum(figures["characters"] for figures in tokenizer.fertility.values())
    )
    heads: list[Words] = [
        Both(
            f"{tokenizer.name}: {tokenizer.vocabulary_size:,} tokens",
            f"{tokenizer.name}: 토큰 {tokenizer.vocabulary_size:,}개",
        ),
        Both("share of the text", "글에서의 비중"), Both("characters", "글자 수"),
        Both("tokens per word", "단어당 토큰"), Both("characters per token", "토큰당 글자"),
        Both("bytes per token", "토큰당 바이트"),
    ]  # fmt: skip
    rows: list[list[Words]] = []
    for script in _by_share(tokenizer):
        figures = tokenizer.fertility[script]
        rates = ("tokens_per_word", "characters_per_token", "bytes_per_token")
        rows.append(
            [
                _script(script),
                percent(figures["characters"] / total) if total else "–",
                amount(figures["characters"]),
                *(decimal(figures[rate], 2) if figures.get(rate) is not None else "–" for rate in rates),
            ]
        )
    return Table(heads, rows)


def _chart(tokenizer: TokenizerFacts, name: str) -> Chart:
    values = {
        (_script(script).en, _script(script).ko): tokenizer.fertility[script]["bytes_per_token"]
        for script in _by_share(tokenizer)
    }
    said = ", ".join(f"{script[0]} {value:.2f}" for script, value in values.items())
    drawing = charts.bars(
        values, x_label=("bytes per token", "토큰당 바이트"),
        alt=(f"Bytes per token of {tokenizer.name}: {said}", f"{tokenizer.name}의 토큰당 바이트: {said}"),
    )  # fmt: skip
    return Chart(name, Both("Bytes per token, by script", "문자별 토큰당 바이트"), drawing)
