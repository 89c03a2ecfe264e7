"""The `headgate` command: one file per verb group. It wires rooms together and talks to the API as users do."""


def main() -> None:
    """Run the command line."""
    from headgate.cli.root import run

    run()
