"""What a stack costs: read from its template and a usage profile, priced from dropforge.pricing."""
