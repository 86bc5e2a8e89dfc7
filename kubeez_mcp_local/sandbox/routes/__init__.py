"""The stand-in's routes, one module a family.

FastAPI evaluates the annotations of handlers and dependencies, so their modules do without postponed annotations.
"""
