"""The words of a text: the most frequent terms, and a sketch by which the likeness of two texts is estimated."""

from __future__ import annotations

import keyword
import re
import zlib
from collections import Counter

from .model import Vocabulary

TERMS_MAX = 80
BINS = 128
SHINGLES_MIN = 60
"""A shorter text has too little to be compared: two licence headers are not duplicates."""

EMPTY = 0xFFFFFFFF
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
    """MinHash by one permutation: each shingle of four tokens falls into one of 128 bins, which keeps its smallest.

    The share of equal bins estimates how many shingles two texts have in common. `zlib.crc32` and not `hash`, which
    differs from process to process.
    """
    tokens = TOKEN.findall(text)
    numbers = {token: zlib.crc32(token.encode("utf-8", "replace")) for token in set(tokens)}
    row = [numbers[token] for token in tokens]
    shingles = {
        (((a * 0x9E3779B1 + b) * 0x85EBCA6B + c) * 0xC2B2AE35 + d) & 0xFFFFFFFFFFFF
        for a, b, c, d in zip(row, row[1:], row[2:], row[3:], strict=False)
    }
    if len(shingles) < SHINGLES_MIN:
        return []
    bins = [EMPTY] * BINS
    for shingle in shingles:
        mixed = ((shingle ^ (shingle >> 23)) * 0x2127599BF4325C37 >> 13) & 0x7FFFFFFFFF
        place, value = mixed & 127, mixed >> 7
        if value < bins[place]:
            bins[place] = value
    return _filled(bins)


def _filled(bins: list[int]) -> list[int]:
    """Give each empty bin the value of the next full one, marked by the distance, so that short texts compare too."""
    filled = list(bins)
    for place, value in enumerate(bins):
        distance = 0
        while value == EMPTY:
            distance += 1
            value = bins[(place + distance) % BINS]
        filled[place] = value + (distance << 32)
    return filled


def likeness(one: list[int], other: list[int]) -> float:
    """The estimated share of shingles that two sketched texts have in common, from 0 to 1."""
    return sum(a == b for a, b in zip(one, other, strict=True)) / BINS if one and other else 0.0
