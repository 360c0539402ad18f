"""Whether a connector's listing, ledger, texts, nodes, edges and vectors agree, and
repairs where they do not.
"""
