"""The search for secrets in all that the suite produces: logs, prints, events, journals, reprs, errors, files."""
