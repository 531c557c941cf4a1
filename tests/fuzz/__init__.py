"""Throws what nobody would send at everything that reads a stranger's bytes."""
