"""What specs are made of: registries, canonical JSON, grids of sparsities, and how plugins join in."""
