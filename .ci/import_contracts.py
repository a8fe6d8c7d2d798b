"""Which module must not name which?

A contract type for import-linter: its own `forbidden` neither takes `launcher_*`, for plugins that nobody has written
yet, nor a module that comes later.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, cast

from importlinter import Contract, ContractCheck, fields, output

if TYPE_CHECKING:
    from grimp import ImportGraph


class NeverImports(Contract):
    """No module matching `importers` (but not `exempt`) imports one matching `imported`; patterns may match nothing."""

    importers = fields.ListField(subfield=fields.StringField())
    imported = fields.ListField(subfield=fields.StringField())
    exempt = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002, FBT001 - import-linter's own
        """Look at direct imports only: what an import drags in is the subject of the speed benchmarks."""
        broken = [
            f"{importer} imports {imported}"
            for importer in sorted(graph.modules)
            if _matches(importer, self.importers) and not _matches(importer, self.exempt)
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if _matches(imported, self.imported)
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line an import."""
        for line in check.metadata["broken"]:
            output.print_error(line)


def _matches(module: str, patterns: object) -> bool:
    """Say whether a pattern fits; the fields of a contract are lists or None by now, which their types do not tell."""
    return any(fnmatchcase(module, pattern) for pattern in cast("list[str] | None", patterns) or [])
