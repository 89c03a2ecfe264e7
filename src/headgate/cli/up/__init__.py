"""`headgate up`: a thin parent of the control plane, Envoy and a demo upstream."""
