"""Reads tenants' buckets: clients, listing, download. Knows connectors, not the ledger;
writes nothing to S3.
"""
