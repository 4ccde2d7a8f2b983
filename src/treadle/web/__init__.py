"""HTTP without a framework: what is answered about a job, and who may ask."""
