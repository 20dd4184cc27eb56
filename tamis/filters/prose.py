"""What a text is by the form of its lines: prose, code or a conversation, which rules for prose pass by."""

import polars as pl

from tamis.filters.text_units import LINES, TEXT, ratio, share_matching

_SPEAKER = r"^\s*(?:\[[^\]]{1,20}\]\s*)?(?:<\|\w+|<?[\p{L}@#][\p{L}\w .'-]{0,24}>?\s?:(?:\s|$))"
_CODE = (
    r"[;{}\\]\s*$|^\s*(?://|/\*|#!|#include|@\w+|\$ |>>> |<\?|[})\]]+[,;]?\s*$)"
    r"|^\s*(?:def|class|import|from|return|elif|except|async|public|private|static|func|fn|let|var|const|"
    r"package|using|namespace|echo|SELECT|INSERT|CREATE|raise|assert|yield|with|for|while|if|else|try)\b"
    r".*(?:[:{;,]\s*$|[=(\[{])|^\s*(?:import|return|package) [\w.*]+;?$"
    r"|^\s*[\w.\[\]\"'*&-]+\s*(?:[-+*/|:]?=|:=|=>|<-|->)\s*\S|\w\([^()]*\)\s*[;:{]?\s*$"
    r"|^\s*[\"'][\w. -]+[\"']\s*:\s*[\S]|^\s*[\w-]+:\s*[\w\"'{\[#.-]+;?\s*$"
)
_SYMBOLS, _SYMBOL_SHARE = r"[{}_]|=\s?[\w\"']|\(\)", 0.05
_MARKUP_OF_CODE = r"(?i)<!doctype|<html|<head\b|<body\b|<script\b|<style\b|<\?php|<\?xml|\{%|\{\{"
_WORDS_IN_A_ROW = r"(?:\p{L}{2,}[ ,.]+){8}"  # of a sentence, whatever its line begins or ends with
CODE_SHARE, CHAT_SHARE = 0.25, 0.5
_LINE = pl.element()
_CODE_LINES = LINES.list.eval(_LINE.str.contains(_CODE) & ~_LINE.str.contains(_WORDS_IN_A_ROW)).list.sum()
_MANY_SYMBOLS = TEXT.str.count_matches(_SYMBOLS) > _SYMBOL_SHARE * TEXT.str.count_matches(r"\S")

FORM: dict[str, pl.Expr] = {
    "code_line_share": pl.when(TEXT.str.contains(_MARKUP_OF_CODE) | _MANY_SYMBOLS)
    .then(1.0)
    .otherwise(ratio(_CODE_LINES, LINES.list.len())),
    "speaker_line_share": pl.when(LINES.list.len() > 1).then(share_matching(LINES, _SPEAKER)).otherwise(0.0),
}
"""Measures of a frame that `with_units` made."""

PROSE = (pl.col("code_line_share") < CODE_SHARE) & (pl.col("speaker_line_share") < CHAT_SHARE)
"""Whether a text with these measures is neither code nor a conversation."""
