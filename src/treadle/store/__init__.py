"""Where jobs are kept: one contract, a SQLite file, and memory."""
