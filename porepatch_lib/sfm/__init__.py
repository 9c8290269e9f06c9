"""Structure from motion: the only room that knows COLMAP."""
