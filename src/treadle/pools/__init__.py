"""Where functions run: one contract; in this thread, in threads, in an event loop, in child processes."""
