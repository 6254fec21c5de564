"""Webhooks and refunds: what a provider hears and gives back outside of paid requests."""
