"""What tenants registered: validated configuration, encrypted credentials, the store.

It knows no provider and no Dagster.
"""
