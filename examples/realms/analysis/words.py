"""The words of a text: the most frequent terms, and a sketch by which the likeness of two texts is estimated."""

from __future__ import annotations

import keyword
import re
import zlib
from collections import Counter

from .model import Vocabulary

TERMS_MAX = 80
SKETCH = 200
SHINGLES_MIN = 60
"""A shorter text has too little to be compared: two licence headers are not duplicates."""

WORD = re.compile(r"[^\W\d_]{3,30}")
TOKEN = re.compile(r"\w+")
COMMON = """
about after all also and any are because been before being but can cannot could did does doing done each else even
every few for from get gets had has have having her here him his how into its itself just like made make many may
might more most much must not now off once one only other our out over own same see set should since some such than
that the their them then there these they this those through too two under until upon use used uses using very was way
well were what when where whether which while who will with within without would you your arg args kwargs self cls str
int bool float bytes list dict tuple object type none true false def return returns raises raise import class pass
todo com org www http https len isinstance der die das und ist nicht ein eine mit von auf für den dem des les des une
est dans pour que qui pas sur
"""
STOPWORDS = frozenset(COMMON.split()) | frozenset(word.lower() for word in keyword.kwlist)


def vocabulary_of(text: str) -> Vocabulary:
    """Count the words of `text` and sketch it."""
    words = WORD.findall(text.lower())
    counts = Counter(word for word in words if word not in STOPWORDS)
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TERMS_MAX]
    return Vocabulary(len(words), dict(frequent), sketch_of(text))


def sketch_of(text: str) -> list[int]:
    """The smallest hashes of the text's shingles of four tokens; all of them when there are no more.

    `zlib.crc32` and not `hash`, which differs from process to process.
    """
    tokens = TOKEN.findall(text)
    numbers = {token: zlib.crc32(token.encode("utf-8", "replace")) for token in set(tokens)}
    row = [numbers[token] for token in tokens]
    shingles = {
        (((a * 0x9E3779B1 + b) * 0x85EBCA6B + c) * 0xC2B2AE35 + d) * 0x2127599BF4325C37 >> 16 & 0xFFFFFFFFFFFF
        for a, b, c, d in zip(row, row[1:], row[2:], row[3:], strict=False)
    }
    return sorted(shingles)[:SKETCH] if len(shingles) >= SHINGLES_MIN else []


def likeness(one: list[int], other: list[int]) -> float:
    """The share of shingles that two sketched texts have in common, from 0 to 1.

    Of both together the smallest hashes are a fair sample; for short texts they are all there are, and it is exact.
    """
    sample = sorted({*one, *other})[:SKETCH]
    shared = {*one} & {*other}
    return sum(value in shared for value in sample) / len(sample) if sample else 0.0
