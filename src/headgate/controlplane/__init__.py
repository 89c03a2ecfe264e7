"""The gateway control plane: one store, several surfaces, Envoy configured over xDS."""
