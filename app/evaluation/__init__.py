"""How good a result is: masks and objects against the truth, a store of scores, and choices."""
