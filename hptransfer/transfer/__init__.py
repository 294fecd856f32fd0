"""From sweeps to a prediction. Imports neither torch nor ray: it works on a laptop from a copied store."""
