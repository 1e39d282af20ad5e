"""Puts trust on hosts, and proves it."""
