"""The tests: one folder per part of flovia, plus what crosses the parts."""
