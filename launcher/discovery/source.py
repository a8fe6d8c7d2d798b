"""What in a module's source could be the application?

The source is parsed and never run: importing the application in the launcher's process would cost its memory and time
twice and leave its threads and descriptors behind. This module describes what it sees; `launcher.discovery` decides.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.discovery.names import ASGI_TYPES, FACTORY_NAMES, Shape, well_known

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
    IsModule = Callable[[int, str], bool]


@dataclass(frozen=True, slots=True)
class Bound:
    """One name at module level and the statement that binds it."""

    name: str
    shape: Shape
    node: ast.stmt

    def __str__(self) -> str:
        """Return the statement in one short line, for messages."""
        match self.node:
            case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
                return f"{self.name} = {_short(value)}"
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                word = "async def" if isinstance(self.node, ast.AsyncFunctionDef) else "def"
                return f"{word} {self.name}({', '.join(argument.arg for argument in _positional(self.node))})"
            case ast.ClassDef():
                return f"class {self.name}"
            case _:
                return ast.unparse(self.node).splitlines()[0][:80]


@dataclass(frozen=True, slots=True)
class ModuleNames:
    """What a module's source binds at module level.

    `wrapped` are the ASGI apps that another ASGI app of the module was built around; `starred` says that a star import
    may bring more names; `relative` that the module imports relatively, so that it only works inside a package.
    """

    bound: Mapping[str, Bound]
    wrapped: frozenset[str]
    starred: bool
    relative: bool


def read_names(source: bytes | str, is_module: IsModule = lambda _level, _dotted: False) -> ModuleNames:
    """Return what `source` binds; `is_module(level, dotted)` tells whether a from-import names a submodule.

    Raises `SyntaxError` or, for null bytes before Python 3.12, `ValueError`.
    """
    with warnings.catch_warnings():
        # An invalid escape is the server's to report, once, and not an error here under -W error.
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    reader = _Reader(is_module)
    reader.read(tree.body, sure=True)
    needle = b"global " if isinstance(source, bytes) else "global "
    if needle in source:  # type: ignore[operator]  # needle has the type of source
        reader.read_globals(tree)
    return ModuleNames(reader.bound, frozenset(reader.wrapped), reader.starred, reader.relative)


@dataclass(slots=True)
class _Reader:
    """Walks the statements that run at import, in order, as Python would."""

    is_module: IsModule
    bound: dict[str, Bound] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    makers: dict[str, Shape] = field(default_factory=dict)
    wrapped: set[str] = field(default_factory=set)
    starred: bool = False
    relative: bool = False

    def read(self, body: Iterable[ast.AST], *, sure: bool) -> None:
        for node in body:
            self._statement(node, sure=sure)

    def read_globals(self, tree: ast.Module) -> None:
        """Believe that a function which declares a name global may bind it to anything."""
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.Global)):
            for name in node.names:
                self._bind(name, Shape.POSSIBLE, node, sure=False)

    def _bind(self, name: str, shape: Shape, node: ast.stmt, *, sure: bool) -> None:
        before = self.bound.get(name)
        if sure or before is None or shape >= before.shape:
            self.bound[name] = Bound(name, shape, node)

    def _statement(self, node: ast.AST, *, sure: bool) -> None:
        match node:
            case ast.Import():
                self._import(node, sure=sure)
            case ast.ImportFrom():
                self._import_from(node, sure=sure)
            case ast.Assign() | ast.AnnAssign():
                self._assignment(node, sure=sure)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node, sure=sure)
            case ast.ClassDef():
                self._class(node, sure=sure)
            case ast.If(test=test, orelse=orelse) if _never_at_import(test):
                self.read(orelse, sure=sure)
            case _:
                self._block(node, sure=sure and isinstance(node, ast.With))

    def _block(self, node: ast.AST, *, sure: bool) -> None:
        """Read what a condition, a loop or a `try` may run; an expression has none of these parts."""
        for part in ("body", "handlers", "cases", "orelse", "finalbody"):
            inner = getattr(node, part, ())
            self.read(inner if isinstance(inner, list) else (), sure=sure)

    def _assignment(self, node: ast.Assign | ast.AnnAssign, *, sure: bool) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, value, node, sure=sure)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
                typed = _annotated(annotation)
                shape = self._shape(value, name) if typed is Shape.POSSIBLE else typed
                self._bind(name, shape, node, sure=sure)
            case _:
                pass  # a bare annotation binds nothing

    def _import(self, node: ast.Import, *, sure: bool) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self.origins[name] = alias.name if alias.asname else name
            self._bind(name, Shape.MODULE, node, sure=sure)

    def _import_from(self, node: ast.ImportFrom, *, sure: bool) -> None:
        self.relative = self.relative or node.level > 0
        for alias in node.names:
            if alias.name == "*":
                self.starred = True
                continue
            dotted = f"{node.module}.{alias.name}" if node.module else alias.name
            self.origins[alias.asname or alias.name] = dotted
            module = node.module is None or self.is_module(node.level, dotted)
            self._bind(alias.asname or alias.name, Shape.MODULE if module else Shape.POSSIBLE, node, sure=sure)

    def _assign(self, target: ast.expr, value: ast.expr, node: ast.stmt, *, sure: bool) -> None:
        match target:
            case ast.Name(id=name):
                self._bind(name, self._shape(value, name), node, sure=sure)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for part in (part for part in parts if isinstance(part, ast.Name)):
                    self._bind(part.id, Shape.POSSIBLE, node, sure=sure)
            case _:
                pass  # an attribute or an item of something: no name of this module

    def _function(self, node: FunctionNode, *, sure: bool) -> None:
        names = tuple(argument.arg.strip("_") for argument in _positional(node))
        if isinstance(node, ast.AsyncFunctionDef):
            shape = _shape_of_three(names)
        elif names[:2] == ("environ", "start_response"):
            shape = Shape.WSGI
        else:
            shape = self._factory(node)
        self._bind(node.name, shape, node, sure=sure)

    def _factory(self, node: ast.FunctionDef) -> Shape:
        if not (isinstance(node.body[-1], ast.Return) and node.body[-1].value):
            return Shape.OTHER
        made = self.makers[node.name] = self._made(node)
        needs_no_argument = len(_positional(node)) == len(node.args.defaults) and None not in node.args.kw_defaults
        wanted = made is Shape.ASGI or (made is Shape.POSSIBLE and node.name in FACTORY_NAMES)
        return Shape.FACTORY if wanted and needs_no_argument else Shape.OTHER

    def _made(self, node: ast.FunctionDef) -> Shape:
        """Return the shape of what a function returns: by its annotation, else by what it calls."""
        if node.returns is not None and (typed := _annotated(node.returns)) is not Shape.POSSIBLE:
            return typed
        calls = (self._known(call.func) for call in ast.walk(node) if isinstance(call, ast.Call))
        return max((shape for shape in calls if shape in (Shape.ASGI, Shape.WSGI)), default=Shape.POSSIBLE)

    def _class(self, node: ast.ClassDef, *, sure: bool) -> None:
        calls = (each for each in node.body if isinstance(each, ast.AsyncFunctionDef) and each.name == "__call__")
        bases = [self._known(base) for base in node.bases]
        if any(_shape_of_three(tuple(arg.arg for arg in _positional(each))[1:]) is not Shape.OTHER for each in calls):
            bases.append(Shape.ASGI)
        self.makers[node.name] = max(bases, default=Shape.POSSIBLE)
        self._bind(node.name, Shape.OTHER, node, sure=sure)

    def _shape(self, value: ast.expr, target: str = "") -> Shape:
        """Return what an expression bound to `target` evaluates to, as far as it can be seen."""
        match value:
            case ast.Call():
                return self._call(value, target)
            case ast.Name(id=name):
                return self.bound[name].shape if name in self.bound else Shape.POSSIBLE
            case ast.IfExp(body=one, orelse=other):
                return max(self._shape(one, target), self._shape(other, target))
            case ast.BoolOp(values=values):
                return max(self._shape(each, target) for each in values)
            case ast.Attribute() | ast.Subscript() | ast.NamedExpr() | ast.Lambda():
                return Shape.POSSIBLE
            case _:
                return Shape.OTHER

    def _call(self, call: ast.Call, target: str) -> Shape:
        """Return the shape of what a call makes; an app handed to the call makes it a wrapper of that app."""
        shape = self._known(call.func)
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        calls_and_names = (each for each in arguments if isinstance(each, ast.Name | ast.Call))
        inner = [each for each in calls_and_names if self._shape(each) is Shape.ASGI]
        names = {each.id for each in inner if isinstance(each, ast.Name)}
        # `Admin(app)` or `TestClient(app)` also take an app: the name says which of them are one.
        wraps = target in names or _last(call.func).endswith("Middleware")
        if shape is Shape.POSSIBLE and inner and wraps:
            shape = Shape.ASGI
        if shape is Shape.ASGI:
            self.wrapped |= names - {target}
        return shape

    def _known(self, callee: ast.expr) -> Shape:
        if isinstance(callee, ast.Name) and callee.id in self.makers:
            return self.makers[callee.id]
        return well_known(self._dotted(callee))

    def _dotted(self, callee: ast.expr) -> str:
        match callee:
            case ast.Name(id=name):
                return self.origins.get(name, name)
            case ast.Attribute(value=value, attr=attribute):
                return f"{self._dotted(value)}.{attribute}"
            case _:
                return ""


def _annotated(annotation: ast.expr) -> Shape:
    last = annotation.value if isinstance(annotation, ast.Constant) else _last(annotation)
    return Shape.ASGI if last in ASGI_TYPES else well_known(str(last))


def _last(expression: ast.expr) -> str:
    match expression:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _positional(node: FunctionNode) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args]


def _shape_of_three(names: tuple[str, ...]) -> Shape:
    """Return how likely an async function with these parameters is ASGI's `app(scope, receive, send)`."""
    if len(names) != 3:  # noqa: PLR2004 - the three of the ASGI specification, version 3
        return Shape.OTHER
    return Shape.ASGI if names[0].strip("_") == "scope" else Shape.POSSIBLE


def _never_at_import(test: ast.expr) -> bool:
    """Tell whether a condition is the script guard or the type checker's, both false when a server imports the file."""
    if isinstance(test, ast.Compare):
        return isinstance(test.left, ast.Name) and test.left.id == "__name__"
    return _last(test) == "TYPE_CHECKING"


def _short(value: ast.expr) -> str:
    if isinstance(value, ast.Call):
        return f"{ast.unparse(value.func)[:60]}({'...' if value.args or value.keywords else ''})"
    return ast.unparse(value)[:60]
