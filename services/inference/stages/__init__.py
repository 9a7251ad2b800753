"""The stages of inference, one file each; pure."""
