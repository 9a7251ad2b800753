"""The stages of analysis, one file each; pure."""
