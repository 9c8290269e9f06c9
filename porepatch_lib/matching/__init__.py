"""View pairs and descriptor matching."""
