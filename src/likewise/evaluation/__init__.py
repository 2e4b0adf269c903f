"""How good a clustering is: metrics, details, label-free health, baselines. numpy in, numbers out.

The labels of a data set enter here and nowhere else.
"""

from likewise.evaluation.baselines import kmeans, pixels
from likewise.evaluation.detail import confusion, per_class
from likewise.evaluation.geometry import ClusterGeometry, cluster_geometry
from likewise.evaluation.labels import labelled, labels_from_folders, read_labels
from likewise.evaluation.metrics import (
    METRICS,
    Contingency,
    Metric,
    accuracy,
    ami,
    ari,
    cluster_scores,
    contingency,
    match_clusters,
    nmi,
)
from likewise.evaluation.sizes import ClusterSummary, cluster_summary

__all__ = [
    "METRICS",
    "ClusterGeometry",
    "ClusterSummary",
    "Contingency",
    "Metric",
    "accuracy",
    "ami",
    "ari",
    "cluster_geometry",
    "cluster_scores",
    "cluster_summary",
    "confusion",
    "contingency",
    "kmeans",
    "labelled",
    "labels_from_folders",
    "match_clusters",
    "nmi",
    "per_class",
    "pixels",
    "read_labels",
]
