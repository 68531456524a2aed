"""S3-compatible buckets."""
