"""Tests of the paying client."""
