"""What Treadle promises, measured: one file a question, each prints a table, peers in the same run."""
