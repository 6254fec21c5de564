"""The pure part of flovia: protocol types, state machine and flows as plain data.

Nothing in here opens a socket or a file, reads a clock, the environment or randomness, or starts a
thread. What a flow wants of the world it asks for as an effect (:mod:`flovia.core.effects`).
"""
