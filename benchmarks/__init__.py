"""Measurements; each module writes its own file to benchmarks/results."""
