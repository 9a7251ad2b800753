"""What whole datasets measure: totals of organelles, side by side, and how sure they are."""
