"""Where this process stands: in a child of a pool everything runs inline, and nothing is elected."""

is_child = False
"""Whether this process is a child of one of our pools; set once, as its first act."""

loop_threads: set[int] = set()
"""The threads that run a worker's loop; what runs inline in one of them stops that worker meanwhile."""
