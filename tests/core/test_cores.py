"""How many threads a process may have: its cores, its share of their time, and what it was told."""

import os

import psutil
import pytest

from core import cores
from core.cores import usable_cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that makes a machine of so many cores, with files of its control groups."""

    def make(logical=16, physical=16, allowed=None, **groups):
        monkeypatch.setattr(os, "cpu_count", lambda: logical)
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(allowed or logical)), raising=False)
        monkeypatch.setattr(psutil, "cpu_count", lambda *, logical: physical)
        for name, content in groups.items():
            path = tmp_path / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return make


def test_all_cores_where_nothing_bounds_them(machine):
    assert usable_cores(machine()) == 16
    assert usable_cores(machine(), asked=4) == 4
    assert usable_cores(machine(), asked=99) == 16


def test_twins_of_a_core_count_once(machine):
    assert usable_cores(machine(physical=8)) == 8
    assert usable_cores(machine(physical=None)) == 16
    assert usable_cores(machine(physical=8, allowed=3)) == 3


@pytest.mark.parametrize(
    ("told", "cores"), [("200000 100000", 2), ("765000 100000", 7), ("50000 100000", 1), ("max 100000", 16), ("", 16)]
)
def test_a_container_s_share_is_what_it_may_use(told, cores, machine):
    assert usable_cores(machine(sys__fs__cgroup__cpu_max=told)) == cores


def test_the_narrowest_group_counts(machine):
    place = machine(
        proc__self__cgroup="0::/pod/box\n", sys__fs__cgroup__pod__box__cpu_max="max 100000",
        sys__fs__cgroup__pod__cpu_max="300000 100000", sys__fs__cgroup__cpu_max="900000 100000",
    )  # fmt: skip
    assert usable_cores(place) == 3


@pytest.mark.parametrize(("quota", "cores"), [("250000", 2), ("-1", 16)])
@pytest.mark.parametrize("controller", ["cpu", "cpu,cpuacct"])
def test_older_control_groups_too(controller, quota, cores, machine):
    place = machine(proc__self__cgroup="4:cpu,cpuacct:/\n")
    folder = place / "sys" / "fs" / "cgroup" / controller
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu.cfs_period_us").write_text("100000")
    assert usable_cores(place) == cores


def test_files_that_cannot_be_read_bound_nothing(machine):
    place = machine()
    (place / "sys" / "fs" / "cgroup" / "cpu.max").mkdir(parents=True)
    (place / "proc" / "self").mkdir(parents=True)
    (place / "proc" / "self" / "cgroup").write_bytes(b"0::/\xff\n")
    assert usable_cores(place) == 16


def test_without_proc_and_affinity(machine, monkeypatch):
    place = machine(logical=4, physical=4)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores(place) == 4
    assert cores._share(place) == 0
