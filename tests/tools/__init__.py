"""Small programs for maintainers and CI; not shipped."""
