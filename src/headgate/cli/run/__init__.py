"""`headgate run`: a workspace's applications, each in a process of its own, and again when its files change."""
