"""`fibstream phantom`: its words and flags, and what it writes."""
