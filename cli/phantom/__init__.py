"""`fibstream phantom`: the command, its flags, and the files that it writes."""
