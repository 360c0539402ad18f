"""This system beside servers that are not its own: ``make test-systems``.

A test that cannot have what it needs is skipped with a sentence.
"""
