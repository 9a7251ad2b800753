"""The images of the containers: ``make images``."""
