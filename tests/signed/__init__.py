"""Signed receipts and grants."""
