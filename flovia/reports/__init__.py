"""What the ledger says about the business, as answers: for a terminal, a page, JSON and CSV."""
