"""What was done and refused, by whom: the shape of an audit record."""
