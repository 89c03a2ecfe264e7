"""From an OpenAPI document to the resources that publish it: a pure function with a full account."""
