"""Compares API Management's own log of model calls with the records."""
