"""ActiveKG's graph: documents, chunks with vectors, search.

A document is swapped in as a whole. The ledger decides what is written here.
"""
