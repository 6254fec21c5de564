"""Tests of what events are turned into."""
