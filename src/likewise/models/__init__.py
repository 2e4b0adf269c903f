"""Backbones, heads, and the state that methods keep."""

from likewise.models.backbones import BACKBONES, Backbone, build_backbone, check_backbone

__all__ = ["BACKBONES", "Backbone", "build_backbone", "check_backbone"]
