"""The `headgate` command: one file per verb group."""


def main() -> None:
    """Run the command line."""
    raise SystemExit("not yet")
