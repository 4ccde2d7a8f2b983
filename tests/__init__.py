"""The tests of Treadle; they mirror `src` one to one."""
