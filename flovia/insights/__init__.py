"""What the events say together. Pure functions: events in, rows out."""
