"""Dagster's own web application behind a guard.

It has no login of its own, answers to any name, and runs mutations sent by GET. Here it
lies behind known hosts, own origins and, where others can reach it, a login.
"""
