"""Everything that touches Dagster and is not a definition.

Exports nothing. Each of Dagster's processes loads :mod:`.storage`, and the command line
loads :mod:`.orchestrator`: neither should pay for the other's imports.
"""
