"""A person in a real browser; see tests/require.py for what that needs."""
