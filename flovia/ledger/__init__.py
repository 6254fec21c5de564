"""Where payments are remembered: the :class:`~flovia.ledger.base.Ledger` protocol and its implementations."""
