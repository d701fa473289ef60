"""What `benches/compare` is made of: registries, images, clients, measuring, tables."""
