"""The stages of registration, one file each; pure."""
