"""Changes to a project that is there: a service more, a method more. Decided whole before anything is written.

add_service(Path("hello"), "payments")                      # {file: "created" | "changed"}
add_method(Path("hello"), "Orders", Declaration("cancel"))
"""

from collections.abc import Iterator
from pathlib import Path

from headgate.kit.controls.faults import AlreadyExists, InvalidArgument
from headgate.service.dev.workspace import AppEntry, load_workspace
from headgate.service.generate.declare import Declaration, service_test, service_text
from headgate.service.generate.insert import add_argument, import_names, insert_method, parse, services_in
from headgate.service.generate.names import Names, names_of
from headgate.service.generate.trial import try_contract

_LARGEST = 1024 * 1024
"""Bytes of a module that is looked into."""


def add_service(root: Path, name: str) -> dict[Path, str]:
    """A module with a service, its test, and its instance in the application. Raises AlreadyExists, InvalidArgument."""
    names = names_of(name)
    app = load_workspace(root).ordered()[0]
    file = _file_of(app)
    package = app.target.partition(":")[0].rpartition(".")[0]
    module = f"{package}.{names.package}" if package else names.package
    made = file.parent / f"{names.package}.py"
    test = app.directory / "tests" / f"test_{names.package}.py"
    for each in (made, test):
        if each.exists():
            raise AlreadyExists(f"{each} is there already", code="file_exists", hint="nothing was written")
    others = {each for path in _sources(app) for each in services_in(_read(path), str(path))}
    if names.title in others:
        raise AlreadyExists(f"there is a service {names.title} already", code="name_taken")
    edited = _in_application(_read(file), module, names)
    made.write_text(service_text(names), encoding="utf-8")
    test.parent.mkdir(parents=True, exist_ok=True)
    test.write_text(service_test(names, module), encoding="utf-8")
    _write(file, edited)
    return {made: "created", test: "created", file: "changed"}


def add_method(root: Path, service: str, declaration: Declaration) -> dict[Path, str]:
    """The method in the class of that name, or of the service of that name.

    Raises AlreadyExists and InvalidArgument, also for what the contract could not hold, such as a path of another.
    """
    found: dict[tuple[Path, str], tuple[Path, ...]] = {}
    known: list[str] = []
    for app in load_workspace(root).apps:
        for file in _sources(app):
            for title in services_in(_read(file), str(file)):
                known.append(title)
                if service in (title, _kebab(title)):
                    found[file, title] = app.paths
    if len(found) != 1:
        hint = ", ".join(sorted(set(known))) or "none"
        message = f"there is no service '{service}'" if not found else f"'{service}' is in several modules"
        raise InvalidArgument(message, code="invalid_source", hint=f"there are: {hint}")
    [((file, title), paths)] = found.items()
    source = _read(file)
    _know(source, declaration, file)
    edited = insert_method(source, title, declaration.text())
    for module, names in declaration.imports.items():
        edited = import_names(edited, module, names)
    parse(edited, str(file))
    try_contract(edited, title, paths, file)
    _write(file, edited)
    return {file: "changed"}


def _in_application(source: str, module: str, names: Names) -> str:
    """The module of the application, with the service in the first `App(...)`."""
    return import_names(add_argument(source, "App", f"{names.title}()"), module, [names.title])


def _know(source: str, declaration: Declaration, file: Path) -> None:
    """Raise for a type that the module does not have: what is generated must be importable."""
    import ast
    import builtins

    tree = parse(source, str(file))
    known = {each.name for each in tree.body if isinstance(each, ast.ClassDef)} | set(vars(builtins))
    for each in tree.body:
        if isinstance(each, ast.Import | ast.ImportFrom):
            known |= {(alias.asname or alias.name).partition(".")[0] for alias in each.names}
        elif isinstance(each, ast.Assign | ast.AnnAssign):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            known |= {target.id for target in targets if isinstance(target, ast.Name)}
    strange = [name for name in declaration.unknown if name not in known]
    if strange:
        raise InvalidArgument(
            f"{file.name} knows no type '{strange[0]}'",
            code="invalid_declaration",
            hint="define or import it there first",
        )


def _sources(app: AppEntry) -> Iterator[Path]:
    """The modules of an application's package, or beside its module."""
    for path in sorted(_file_of(app).parent.rglob("*.py")):
        is_hidden = any(part.startswith(".") or part == "tests" for part in path.relative_to(app.directory).parts)
        if not is_hidden and path.stat().st_size <= _LARGEST:
            yield path


def _file_of(app: AppEntry) -> Path:
    """The module that a target names."""
    steps = app.target.partition(":")[0].split(".")
    for base in app.paths:
        for file in (base.joinpath(*steps).with_suffix(".py"), base.joinpath(*steps, "__init__.py")):
            if file.is_file():
                return file
    raise InvalidArgument(
        f"the module of {app.target} is not in {app.directory}", code="invalid_target", hint="correct pyproject.toml"
    )


def _read(file: Path) -> str:
    with file.open(encoding="utf-8", newline="") as opened:
        return opened.read()


def _write(file: Path, text: str) -> None:
    """Replace a file whole or not at all, with its line ends as they were."""
    draft = file.with_name(f".{file.name}.new")
    with draft.open("w", encoding="utf-8", newline="") as opened:
        opened.write(text)
    draft.replace(file)


def _kebab(title: str) -> str:
    return "".join(f"-{each.lower()}" if each.isupper() and index else each.lower() for index, each in enumerate(title))
