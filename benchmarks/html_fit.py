"""Fits the trees that tell content from navigation to pages with a known main text.

``python -m benchmarks.html_fit --pages DIR`` writes
``activekg_pipelines/extraction/html/forest.json``; ``--hold-out`` keeps every page of
the other half for a later ``python -m benchmarks.html --half 1``.
"""
