"""What all parts agree on: where voxels are, what a stage is, when it is ready. Pure."""
