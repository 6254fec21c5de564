"""Tests of the providers and their contract."""
