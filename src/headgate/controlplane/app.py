"""The only place that wires the rooms of the control plane together."""
