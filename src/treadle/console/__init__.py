"""What `treadle worker`, `flask worker` and `manage.py worker` can do, in one place for all three."""
