"""Has a migration left an index behind that is of no use?

`CREATE INDEX CONCURRENTLY` that fails leaves an invalid index, and the same migration run again with IF NOT EXISTS
keeps it without a word (evidence/locks.md M1): writes pay for it, reads never use it, a unique one guards nothing.
"""

from __future__ import annotations

from launcher.databases import DatabaseUnreachable, TableMissing
from launcher.databases import url as databases
from launcher.steps import StepContext

_TIMEOUT_S = 8.0  # connecting, and a look at one catalogue
_MOST = 20  # names in one line of a log
# relkind `i`: the index of a partitioned table ("I") is invalid by design until all its partitions have theirs. Not
# those that somebody is building at this moment. No per cent sign: a driver may take it for a place to fill in.
_QUESTION = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
ORDER BY 1
"""
_CURE = (
    "REINDEX INDEX CONCURRENTLY builds it anew where it is; or DROP INDEX CONCURRENTLY, then create it by a migration"
)


def report_invalid(step: str, url: str, context: StepContext) -> None:
    """Say which indexes of this PostgreSQL database are invalid. A question that fails is no failure of the step."""
    try:
        if databases.parse(url).dialect != "postgresql":
            return
        names = [str(row[0]) for row in context.ask(url, _QUESTION, timeout_s=_TIMEOUT_S)]
    except (DatabaseUnreachable, TableMissing, TimeoutError, OSError, ValueError):
        return
    if names:
        context.warn("launcher.index_invalid", step=step, indexes=names[:_MOST], count=len(names), cure=_CURE)
