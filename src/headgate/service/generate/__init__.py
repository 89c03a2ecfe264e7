"""What writes code: new projects, services and methods in those that are there, clients in other languages.

    files = project("hello", template="service")        # paths and texts; nothing is written
    write(files, Path("hello"))

    edited = insert_method(source, "Orders", method_text("cancel", ...))

Templates are plain files below `templates/`, one folder for each layer of a project. Nothing asks the network, and
the same names give the same bytes.

    InvalidArgument
    ├── invalid_project_name    no name of a service, or one that Python or its library has taken
    ├── unknown_template
    ├── invalid_source          what is to be edited is no Python, or lacks what the edit is about
    └── invalid_declaration     a parameter, a type or a path that cannot be
    AlreadyExists
    ├── file_exists             nothing is overwritten
    └── name_taken              the class or the method is there already
"""

from typing import Final

TEMPLATE_NAMES: Final = ("service", "worker", "full")
"""What a new project can be made from; the first unless another is asked for."""
