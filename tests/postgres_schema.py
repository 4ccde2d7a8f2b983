"""The tables in a PostgreSQL database, told line by line."""

from pathlib import Path

from treadle.store.postgres_server import PostgresServer

GOLDEN = Path(__file__).parent / "treadle" / "store" / "schema.postgres.txt"

COLUMNS = """
SELECT format('%s.%s %s%s%s%s', relname, attname, format_type(atttypid, atttypmod),
    CASE WHEN collname = 'C' THEN ' COLLATE "C"' END, CASE WHEN attnotnull THEN ' NOT NULL' END,
    ' DEFAULT ' || pg_get_expr(adbin, adrelid))
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_collation ON pg_collation.oid = attcollation
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname LIKE 'treadle%' ORDER BY relname, attnum
"""
CONSTRAINTS = """
SELECT format('%s: %s', conname, pg_get_constraintdef(pg_constraint.oid))
FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND contype <> 'n' AND conname LIKE 'treadle%' ORDER BY conname
"""
INDEXES = """
SELECT replace(indexdef, schemaname || '.', '') FROM pg_indexes WHERE schemaname = current_schema() AND indexname LIKE 'treadle%' ORDER BY indexname
"""
OPTIONS = """
SELECT format('%s WITH (%s)', relname, array_to_string(reloptions, ', ')) FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND reloptions IS NOT NULL AND relname LIKE 'treadle%' ORDER BY relname
"""


def schema(server: PostgresServer) -> str:
    """All that the migrations have made, a line each."""
    parts = [
        "\n".join(str(line) for (line,) in server.run(query)) for query in (COLUMNS, CONSTRAINTS, INDEXES, OPTIONS)
    ]
    return "\n\n".join(parts) + "\n"
