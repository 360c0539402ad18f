"""ActiveKG's graph: documents swapped in whole, chunks with vectors, search. The ledger
decides, this carries out.
"""
