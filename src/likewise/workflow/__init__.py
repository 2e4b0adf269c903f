"""The jobs, end to end. Command line, estimator and benchmark all call these."""

from likewise.workflow.clustering import Clustering, cluster
from likewise.workflow.looks import Glimpse
from likewise.workflow.reuse import assign, open_network, reopen

__all__ = ["Clustering", "Glimpse", "assign", "cluster", "open_network", "reopen"]
