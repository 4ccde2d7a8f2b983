"""The demo: Treadle's main job on real input, as `treadle demo` and `make demo` play it."""
