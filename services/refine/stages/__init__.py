"""The stages of refine, one file each; pure."""
