"""Fitted estimators for programs that have neither torch nor skvision."""

from skvision.export._onnx import export_onnx

__all__ = ["export_onnx"]
