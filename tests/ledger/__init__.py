"""Tests of the ledgers and their contract."""
