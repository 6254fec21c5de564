"""Structure-aware fuzzing of every parser."""
