"""What tenants registered: validated configuration, encrypted credentials, the store.
No S3, no Dagster.
"""
