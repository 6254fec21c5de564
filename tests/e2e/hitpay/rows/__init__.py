"""Everything that HitPay documents, each played between three kinds of processes: one app, one sandbox, agents."""
