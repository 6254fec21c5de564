"""The real gate, ledgers and providers under one seeded scheduler: ``python -m tests.simulator --seeds 200000``.

In the spirit of FoundationDB's simulation: everything that can go wrong does, in an order that the seed draws, and the
same seed tells the same story again. What is simulated is only the world around flovia: clocks, processes, the network,
the store's failures, a bank (or the sandbox's HitPay), payers and agents. ``docs/reliability.md`` says what is checked.
"""
