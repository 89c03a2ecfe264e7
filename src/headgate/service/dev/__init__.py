"""The development runner: what a workspace consists of, and one of its applications in a process of its own.

    workspace = load_workspace(Path("."))           # headgate.service.dev.workspace
    [app.name for app in workspace.ordered()]

    python -m headgate.service.dev hello.app:app    # one application; settings are environment variables

`headgate run` starts one such process for each, and starts it again when its files change.
"""
