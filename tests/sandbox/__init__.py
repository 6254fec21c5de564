"""Tests of the local HitPay."""
