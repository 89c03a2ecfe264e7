"""Public fakes and fixtures: real servers for tests, echo upstream, xDS clients."""
