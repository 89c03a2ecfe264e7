"""Reading OpenAPI documents and planning what they become."""
