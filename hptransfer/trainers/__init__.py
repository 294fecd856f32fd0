"""What trains a run: ours, and whatever else resolves a point to a job."""
