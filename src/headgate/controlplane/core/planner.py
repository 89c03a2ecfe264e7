"""From changes to rows: each change is checked against what is there and worked into a draft."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from headgate.controlplane.core.changes import Change
from headgate.controlplane.core.draft import Draft, LaneDraft, lane_of
from headgate.controlplane.core.merge import merge_patch
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.core.validation import MODELS, check_name, dump, invalid, label, parse
from headgate.controlplane.model.route_config import RouteConfig, VirtualHost
from headgate.controlplane.model.rows import Document, Row, RowKind, explode
from headgate.controlplane.store.view import LaneKey, TeamView
from headgate.kit.controls.faults import Aborted, AlreadyExists, InvalidArgument, NotFound, ResourceExhausted, Violation

MOST_ROUTES: Final[int] = next(
    bound.max_length for bound in VirtualHost.model_fields["routes"].metadata if hasattr(bound, "max_length")
)
_MOST_VIOLATIONS: Final = 100
_BREATH: Final = 100
"""Changes worked out before others of the event loop get their turn."""


class Planner:
    """Works changes into a draft. One use: `await Planner(...).run()`."""

    def __init__(self, view: TeamView, secrets: SecretBox, changes: Sequence[Change]) -> None:
        self._view = view
        self._secrets = secrets
        self._changes = changes
        self._draft = Draft()
        self._counts = Counter((change.kind, change.name) for change in changes)
        self._handlers: Mapping[RowKind, Callable[[Change, str, Document], None]] = {
            "cluster": self._put_plain,
            "listener": self._put_plain,
            "secret": self._put_secret,
            "route_config": self._put_route_config,
            "route": self._put_route,
        }

    async def run(self) -> Draft:
        """Return the draft. Raises the fault of the first change that cannot be, or of all invalid documents."""
        for index, change in enumerate(self._changes):
            check_name(change.kind, change.name, self._prefix(index))
        await self._load()
        refused: list[InvalidArgument] = []
        for index, change in enumerate(self._changes):
            try:
                if change.kind == "route_config":
                    # Thousands of routes, maybe: the event loop must live on meanwhile.
                    await asyncio.to_thread(self._work_in, change, self._prefix(index))
                else:
                    self._work_in(change, self._prefix(index))
            except InvalidArgument as fault:
                refused.append(fault)
            if index % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
        if refused:
            raise _all_of(refused)
        if moved := self._draft.settle():
            self._draft.add_stored((await self._view.rows("route", moved)).values())
            self._draft.settle()
        self._check_sizes()
        return self._draft

    def _prefix(self, index: int) -> str:
        return "" if len(self._changes) == 1 else f"/{index}"

    async def _load(self) -> None:
        names: dict[RowKind, set[str]] = {}
        for change in self._changes:
            names.setdefault(change.kind, set()).add(change.name)
        routes = names.pop("route", set())
        whole = {c.name for c in self._changes if c.kind == "route_config" and c.operation != "create"}
        names.setdefault("route_config", set()).update(lane_of(name)[0] for name in routes)
        for kind, wanted in names.items():
            self._draft.add_stored((await self._view.rows(kind, wanted)).values())
        await self._load_routes(routes, {name for name in whole if self._draft.before("route_config", name)})

    async def _load_routes(self, routes: set[str], whole: set[str]) -> None:
        by_config: dict[str, list[Any]] = {name: [] for name in whole}
        for stored in await self._view.routes_of(whole) if whole else ():
            by_config[lane_of(stored.row.name)[0]].append(stored)
        for config, rows in by_config.items():
            self._draft.load_whole(config, rows)
        single = {name for name in routes if lane_of(name)[0] not in whole}
        self._draft.add_stored((await self._view.rows("route", single)).values())
        ordered = {lane_of(c.name) for c in self._changes if c.kind == "route" and c.name in single and c.before}
        await self._load_lanes(ordered, whole=True)
        await self._load_lanes({key for c in self._changes if (key := self._extends(c, single))} - ordered, whole=False)

    def _extends(self, change: Change, single: set[str]) -> LaneKey | None:
        """The virtual host at whose end the change may put a route."""
        if change.kind != "route" or change.name not in single or change.operation == "delete":
            return None
        # One named twice may be deleted first, and is new then.
        is_new = self._draft.before("route", change.name) is None or self._counts[change.kind, change.name] > 1
        return lane_of(change.name) if is_new or change.before == "" else None

    async def _load_lanes(self, keys: set[LaneKey], *, whole: bool) -> None:
        for key, lane in (await self._view.lanes(keys, whole=whole)).items():
            order = sorted(lane.positions, key=lane.positions.__getitem__) if lane.positions else ()
            self._draft.lanes[key] = LaneDraft(lane, dict.fromkeys(order))

    def _work_in(self, change: Change, prefix: str) -> None:
        current = self._draft.current(change.kind, change.name)
        _check_operation(change, current)
        self._check_etag(change, current)
        if change.operation == "delete":
            self._remove(change, prefix)
            return
        document: Any = {} if change.document is None else change.document
        if change.operation == "patch":
            document = merge_patch(self._open(change.kind, change.name), document, MODELS[change.kind])
        self._handlers[change.kind](change, prefix, document)

    def _check_etag(self, change: Change, current: Row | None) -> None:
        if change.if_match is None:
            return
        stored = self._draft.stored.get((change.kind, change.name))
        etag = f'"{stored.revision}"' if stored and current else None
        if etag and change.if_match.strip() in {"*", etag}:
            return
        if etag and etag in {part.strip() for part in change.if_match.split(",")}:
            return
        raise Aborted(
            f"The {label(change.kind, change.name)} is not the one you have: "
            + (f"its ETag is {etag}, not {change.if_match}." if etag else "it does not exist."),
            code="etag_mismatch",
            hint="Read it again, apply your change to what you get, and send its ETag.",
        )

    def _open(self, kind: RowKind, name: str) -> Document:
        """The document a patch is merged into: secrets in the clear."""
        document = self._draft.document(kind, name) or {}
        return self._secrets.open(self._view.team, name, document) if kind == "secret" else document

    def _remove(self, change: Change, prefix: str) -> None:
        if change.kind == "route_config":
            for route in self._draft.routes_of(change.name):
                self._draft.remove("route", route, prefix)
        self._draft.remove(change.kind, change.name, prefix)

    def _owner(self, change: Change, current: Row | None) -> str:
        if change.owner is not None:
            return change.owner
        return current.owner if current else ""

    def _put_plain(self, change: Change, prefix: str, document: Document) -> None:
        spec = parse(change.kind, change.name, document, prefix)
        current = self._draft.current(change.kind, change.name)
        row = Row(change.kind, change.name, dump(spec), owner=self._owner(change, current))
        self._draft.put(row, spec, prefix)

    def _put_secret(self, change: Change, prefix: str, document: Document) -> None:
        content = dump(parse("secret", change.name, document, prefix))
        current = self._draft.current("secret", change.name)
        try:
            sealed = self._secrets.seal(self._view.team, change.name, content)
        except InvalidArgument as fault:
            violations = [replace(found, pointer=prefix + found.pointer) for found in fault.violations]
            raise InvalidArgument(fault.message, code=fault.code, hint=fault.hint, violations=violations) from None
        # Sealing is different every time: what is equal keeps the seal it has.
        same = current is not None and current.spec["fingerprint"] == sealed["fingerprint"]
        spec = current.spec if current and same else sealed
        self._draft.put(Row("secret", change.name, spec, owner=self._owner(change, current)), None, prefix)

    def _put_route_config(self, change: Change, prefix: str, document: Document) -> None:
        model = parse("route_config", change.name, document, prefix)
        if not isinstance(model, RouteConfig):
            raise TypeError(model)
        base, routes = explode(change.name, dump(model))
        current = self._draft.current("route_config", change.name)
        self._draft.put(Row("route_config", change.name, base, owner=self._owner(change, current)), model, prefix)
        documents = dict(routes)
        for name in set(self._draft.routes_of(change.name)) - documents.keys():
            self._draft.remove("route", name, prefix)
        for i, host in enumerate(model.virtual_hosts):
            names = [f"{change.name}/{host.name}/{route.name}" for route in host.routes]
            for j, (name, route) in enumerate(zip(names, host.routes, strict=True)):
                there = self._draft.current("route", name)
                owner = there.owner if there else change.owner or ""
                row = Row("route", name, documents[name], there.position if there else 0, owner)
                self._draft.put(row, route, f"{prefix}/virtual_hosts/{i}/routes/{j}")
            self._draft.lane((change.name, host.name)).names = dict.fromkeys(names)

    def _put_route(self, change: Change, prefix: str, document: Document) -> None:
        config, host, short = change.name.split("/")
        self._require_host(config, host)
        if isinstance(document, Mapping) and "name" not in document:
            document = {**document, "name": short}
        spec = parse("route", change.name, document, prefix)
        written = dump(spec)
        if written["name"] != short:
            violation = Violation(
                f"{prefix}/name", f"must be '{short}', as in its address", "A route cannot be renamed."
            )
            raise invalid(f"The {label('route', change.name)} is not valid", [violation])
        current = self._draft.current("route", change.name)
        row = Row("route", change.name, written, current.position if current else 0, self._owner(change, current))
        self._draft.put(row, spec, prefix)
        before = change.before if change.before is not None or current else ""
        if before is not None:
            self._place(change, before, prefix)

    def _place(self, change: Change, before: str, prefix: str) -> None:
        config, host = lane_of(change.name)
        target = f"{config}/{host}/{before}" if before and "/" not in before else before
        if target == change.name:
            return
        stored = self._draft.before("route", change.name)
        if not self._draft.lane((config, host)).place(change.name, target, stored.position if stored else None):
            raise InvalidArgument(
                f"There is no route '{before}' in virtual host '{host}' of route config '{config}' to go before.",
                code="unknown_route",
                violations=[Violation(f"{prefix}/before", "names no route of this virtual host")],
            )

    def _require_host(self, config: str, host: str) -> None:
        row = self._draft.current("route_config", config)
        if row is None:
            raise NotFound(f"There is no route config '{config}'.", hint="Create it first, or in the same change.")
        hosts = [known["name"] for known in row.spec.get("virtual_hosts", [])]
        if host not in hosts:
            raise NotFound(
                f"There is no virtual host '{host}' in route config '{config}'.",
                hint=f"It has {', '.join(hosts[:12])}." if hosts else "It has none yet.",
            )

    def _check_sizes(self) -> None:
        for (config, host), lane in self._draft.lanes.items():
            new = sum(self._draft.before("route", name) is None for name in lane.names)
            count = len(lane.names) if lane.whole else lane.stored.size + new
            if count > MOST_ROUTES:
                raise ResourceExhausted(
                    f"Virtual host '{host}' of route config '{config}' would have {count} routes.",
                    code="too_many_routes",
                    hint=f"A virtual host takes {MOST_ROUTES}; use another one for the rest.",
                )


def _check_operation(change: Change, current: Row | None) -> None:
    if change.operation == "create" and current is not None:
        raise AlreadyExists(
            f"The {label(change.kind, change.name)} exists already.",
            hint="Replace it, or choose another name.",
        )
    if change.operation in {"replace", "patch", "delete"} and current is None:
        raise NotFound(f"There is no {label(change.kind, change.name)}.")


def _all_of(refused: Sequence[InvalidArgument]) -> InvalidArgument:
    if len(refused) == 1:
        return refused[0]
    violations = [violation for fault in refused for violation in fault.violations]
    return InvalidArgument(
        f"{len(refused)} changes are not valid; the first: {refused[0].message}",
        code=refused[0].code,
        hint=refused[0].hint,
        violations=violations[:_MOST_VIOLATIONS],
    )
