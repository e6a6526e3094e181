"""Scores of classifiers that scikit-learn's own do not cover for images."""

from skvision.metrics._per_class import per_class_accuracy
from skvision.metrics._scorers import cross_entropy_scorer, top_k_scorer

__all__ = ["cross_entropy_scorer", "per_class_accuracy", "top_k_scorer"]
