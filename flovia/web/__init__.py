"""What the pages of the dashboard and of the showcase share: their look, their frame, their headers."""
