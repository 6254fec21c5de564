"""Wallets that pay by HitPay."""
