"""What `fibstream view` is made of: the state of the viewer, the files it reads, its server."""
