"""Dense depth and normals of posed views on the CPU, and surfaces from them."""
