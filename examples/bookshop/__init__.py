"""A small real upstream for the tour: a shop of books, with its own OpenAPI document."""
