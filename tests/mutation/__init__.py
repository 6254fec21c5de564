"""Mutation testing: small mistakes are planted one at a time, and the tests have to notice.

::

    python -m tests.mutation --all                       every mutant, for hours
    python -m tests.mutation --sample 300 --seed 1       so many of each part, drawn at random
    python -m tests.mutation --only flovia/core/money.py
    python -m tests.mutation --report                    what all that was tried came to
    python -m tests.mutation --report --drawn --seed 2   the same of one sample
    python -m tests.mutation --page docs/mutants.md

``--part`` takes names of :data:`tests.mutation.parts.PARTS`. Results are kept in ``.mutation/``: what has been
tried is not tried again, and ``--again`` tries those that survived once more, after tests were written.
``--slow`` tries survivors in the SQL ledger with the tests that start processes or a PostgreSQL server: a minute each.

What a mutant is comes from `mutmut <https://mutmut.readthedocs.io>`_ (:mod:`tests.mutation.mutants`), how it is
tried is ours (:mod:`tests.mutation.trying`), because mutmut's own runner leaves out what stands outside functions
(the tables of the state machines) and what is decorated (properties), and collects the tests anew for each
mutant, which takes longer than running them.
"""
