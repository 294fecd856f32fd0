"""Learning rates of Muon in the units of another implementation. The units: `hptransfer.optimizers.rules.dialects`."""
