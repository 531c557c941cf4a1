"""Slow and greedy clients at a real receiver, and what honest callbacks beside them wait."""
