"""The run directory on disk."""

from likewise.runs.assignments import Assignments
from likewise.runs.directory import RunDirectory

__all__ = ["Assignments", "RunDirectory"]
