"""What `scripts/sbom`, `scripts/outputs` and `scripts/secrets` share: what our programs are made of."""
