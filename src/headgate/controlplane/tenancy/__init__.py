"""Who may do what: principals, scopes and token secrets. Pure but for the random token."""
