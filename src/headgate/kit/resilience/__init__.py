"""Living with what fails: circuit breakers, retries, the shared HTTP client, caches with single flight."""
