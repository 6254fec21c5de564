"""The HitPay provider, driven by hand."""
