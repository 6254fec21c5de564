"""A real PostgreSQL for tests: started by them, on loopback, and ended by them."""
