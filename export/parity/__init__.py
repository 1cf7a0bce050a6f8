"""The gate: does an exported graph retrieve what torch retrieves? Open ``gate`` first."""
