"""The run directory on disk."""

from likewise.runs.assignments import Assignments
from likewise.runs.directory import RunDirectory
from likewise.runs.maps import PartMaps

__all__ = ["Assignments", "PartMaps", "RunDirectory"]
