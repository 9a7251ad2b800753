"""census: the volume of an organelle by depth."""
