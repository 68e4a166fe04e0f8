"""How many tokens a tokenizer spends on each script."""

from __future__ import annotations

from hanji.evaluation.report import charts
from hanji.evaluation.report.blocks import Block, Both, Chart, Charts, Paragraph, Section, Table, Words
from hanji.evaluation.report.data import ReportData, TokenizerFacts
from hanji.evaluation.report.figures import amount, decimal, percent

_SCRIPTS = {
    "Latin": Both("Latin", "라틴 문자"),
    "Hangul": Both("Hangul", "한글"),
    "Han": Both("Han", "한자"),
    "Hiragana": Both("Hiragana", "히라가나"),
    "Katakana": Both("Katakana", "가타카나"),
    "Cyrillic": Both("Cyrillic", "키릴 문자"),
    "Greek": Both("Greek", "그리스 문자"),
    "Arabic": Both("Arabic", "아랍 문자"),
    "Hebrew": Both("Hebrew", "히브리 문자"),
    "Thai": Both("Thai", "태국 문자"),
    "Devanagari": Both("Devanagari", "데바나가리"),
    "Common": Both("digits and signs", "숫자와 기호"),
    "Other": Both("other", "기타"),
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
    return _SCRIPTS.get(name.capitalize(), Both(name, name))


def _by_share(tokenizer: TokenizerFacts) -> list[str]:
    return sorted(tokenizer.fertility, key=lambda script: -tokenizer.fertility[script]["characters"])


def _table(tokenizer: TokenizerFacts) -> Table:
    total = sum(figures["characters"] for figures in tokenizer.fertility.values())
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
