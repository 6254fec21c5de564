"""Whole programs, started as a user starts them."""
