"""The electron microscope's side as a light microscope would see it."""
