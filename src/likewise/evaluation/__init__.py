"""How good a clustering is: metrics, details, label-free health, baselines. numpy in, numbers out."""

from likewise.evaluation.baselines import kmeans, pixels
from likewise.evaluation.detail import confusion, per_class
from likewise.evaluation.geometry import ClusterGeometry, cluster_geometry
from likewise.evaluation.knn import class_leakage, knn_accuracy
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
from likewise.evaluation.similarity import PUBLISHED, similarity_table
from likewise.evaluation.sizes import ClusterSummary, cluster_summary
from likewise.evaluation.spectral import spectral
from likewise.evaluation.temperature import temperature_curve

__all__ = [
    "METRICS",
    "PUBLISHED",
    "ClusterGeometry",
    "ClusterSummary",
    "Contingency",
    "Metric",
    "accuracy",
    "ami",
    "ari",
    "class_leakage",
    "cluster_geometry",
    "cluster_scores",
    "cluster_summary",
    "confusion",
    "contingency",
    "kmeans",
    "knn_accuracy",
    "labelled",
    "labels_from_folders",
    "match_clusters",
    "nmi",
    "per_class",
    "pixels",
    "read_labels",
    "similarity_table",
    "spectral",
    "temperature_curve",
]
