"""App, sandbox and agent over real HTTP."""
