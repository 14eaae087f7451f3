"""What documents speak of: terms weighed by TF-IDF, and groups of documents that share them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

import networkx as nx

from .model import Group, Meaning, Profile

FOLDER_TERMS = 6
DOCUMENT_TERMS = 15
NEIGHBOURS = 4
RELATED = 0.35
GROUPS_MAX = 60
MEMBERS_MAX = 40

Vector = dict[str, float]


def interpret(profiles: Iterable[Profile]) -> Meaning:
    """Key terms of each folder and groups of related documents."""
    ordered = sorted(profiles, key=lambda each: each.path)
    terms = {each.path: each.vocabulary.terms for each in ordered if each.vocabulary.terms}
    rarity = _rarity(terms)
    vectors = {path: weigh(counts, rarity) for path, counts in terms.items()}
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for path in vectors:
        folders[path.rpartition("/")[0]].append(path)
    return Meaning({folder: _shared(folders[folder], vectors) for folder in sorted(folders)}, related(vectors))


def _rarity(terms: dict[str, dict[str, int]]) -> Vector:
    """The weight of a term: the fewer documents speak of it, the more it says. One that only one has joins nothing."""
    documents = Counter(term for counts in terms.values() for term in counts)
    return {term: math.log(len(terms) / count) for term, count in sorted(documents.items()) if count > 1}


def weigh(counts: dict[str, int], rarity: Vector) -> Vector:
    """The strongest terms of a document, as a vector of length one."""
    weights = {term: (1 + math.log(count)) * rarity[term] for term, count in counts.items() if term in rarity}
    strongest = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:DOCUMENT_TERMS]
    length = math.sqrt(math.fsum(weight * weight for _, weight in strongest)) or 1.0
    return {term: weight / length for term, weight in strongest}


def related(vectors: dict[str, Vector]) -> list[Group]:
    """Documents that are among each other's nearest, joined: a one-sided likeness is a chain to everything."""
    postings = _postings(vectors)
    nearest = {path: _nearest(path, vectors[path], postings) for path in sorted(vectors)}
    graph: nx.Graph[str] = nx.Graph()
    for path, others in nearest.items():
        graph.add_edges_from((path, other) for other in others if path in nearest[other])
    groups = [sorted(component) for component in nx.connected_components(graph)]
    groups = sorted((group for group in groups if len(group) > 2), key=lambda group: (-len(group), group[0]))
    return [Group(_shared(group, vectors), group[:MEMBERS_MAX], len(group)) for group in groups[:GROUPS_MAX]]


def _postings(vectors: dict[str, Vector]) -> dict[str, list[tuple[str, float]]]:
    postings: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
    for path in sorted(vectors):
        for term, weight in vectors[path].items():
            postings[term].append((path, weight))
    return postings


def _nearest(path: str, vector: Vector, postings: dict[str, list[tuple[str, float]]]) -> list[str]:
    """The documents whose vectors lie closest to that of `path`, by cosine."""
    scores: defaultdict[str, float] = defaultdict(float)
    for term, weight in vector.items():
        for other, others_weight in postings[term]:
            scores[other] += weight * others_weight
    scores.pop(path, None)
    close = sorted((-round(score, 9), other) for other, score in scores.items() if score >= RELATED)
    return [other for _, other in close[:NEIGHBOURS]]


def _shared(group: list[str], vectors: dict[str, Vector]) -> list[str]:
    """The terms that speak for the group: carried by most of its members, and strongly."""
    weights: defaultdict[str, float] = defaultdict(float)
    for path in group:
        for term, weight in vectors[path].items():
            weights[term] += weight
    return _top(weights, FOLDER_TERMS)


def _top(weights: Vector, count: int) -> list[str]:
    return [term for term, _ in sorted(weights.items(), key=lambda item: (-round(item[1], 9), item[0]))[:count]]
