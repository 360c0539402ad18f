"""The way of an object: scan, extract, index. Ties the rooms together; knows neither
Dagster nor FastAPI.
"""
