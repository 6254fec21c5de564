"""Tests of the dashboard: over real servers, and its parts by themselves."""
