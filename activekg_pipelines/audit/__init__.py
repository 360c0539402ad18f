"""Whether a connector's listing, ledger, texts, nodes, edges and vectors agree; where
they do not, it is mended.
"""
