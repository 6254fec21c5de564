"""Spans and metrics of paid requests."""
