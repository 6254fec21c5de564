"""Tests of flovia.core, one noun per file."""
