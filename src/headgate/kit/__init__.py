"""The hardening kit: what every service of ours stands on."""
