"""How many cores this process may use."""

import os
import sys
from pathlib import Path

import pytest

from treadle import cores


@pytest.fixture(autouse=True)
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of control groups with this process in its folder `site/app`."""
    folder = tmp_path / "site" / "app"
    folder.mkdir(parents=True)
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "_own_cgroup", lambda: folder)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return tmp_path


def test_without_a_quota_the_affinity_counts() -> None:
    """All the cores that the kernel lets this process run on."""
    assert cores.usable_cores() == 8


def test_a_quota_is_rounded_up(cgroups: Path) -> None:
    """One and a half cores are two."""
    (cgroups / "site" / "app" / "cpu.max").write_text("150000 100000\n")
    assert cores.usable_cores() == 2


def test_a_quota_of_an_outer_group_counts_too(cgroups: Path) -> None:
    """The smallest one on the way to the root is in force."""
    (cgroups / "site" / "app" / "cpu.max").write_text("max 100000\n")
    (cgroups / "site" / "cpu.max").write_text("300000 100000\n")
    assert cores.usable_cores() == 3


def test_a_setting_can_only_lower_the_count() -> None:
    """More than there is would make everything slower."""
    assert cores.usable_cores(2) == 2
    assert cores.usable_cores(99) == 8


def test_there_is_always_one_core(cgroups: Path) -> None:
    """A quota of a tenth of a core is one core."""
    (cgroups / "cpu.max").write_text("10000 100000\n")
    assert cores.usable_cores() == 1


def test_a_file_that_cannot_be_read_is_no_quota(cgroups: Path) -> None:
    """Nonsense in the tree is taken for no limit."""
    (cgroups / "cpu.max").write_text("nonsense")
    assert cores.usable_cores() == 8


def test_a_machine_without_control_groups_has_no_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the affinity counts."""
    monkeypatch.setattr(cores, "_own_cgroup", lambda: None)
    assert cores.usable_cores() == 8


@pytest.mark.parametrize("enabled", [True, False])
def test_the_interpreter_says_whether_it_has_a_gil(monkeypatch: pytest.MonkeyPatch, enabled: bool) -> None:
    """Where it can say so; others have one."""
    monkeypatch.delattr(sys, "_is_gil_enabled", raising=False)
    assert cores.has_gil()
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: enabled, raising=False)
    assert cores.has_gil() is enabled
