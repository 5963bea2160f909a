#!/bin/bash
# Agents' cgroups where the tree has controllers: limits that hold, bombs, freezing, killing.
#   FILES='…/sandbox-HASH …/misbehave' scripts/laptop.sh script scripts/laptop/agents.sh
# Status 1 if a test fails, or if a controller is missing, without which this would try nothing that other machines do not.
files=/usr/lib/laptop/job/files
for controller in memory pids cpu cpuset; do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || exit 1
done
exec env SANDBOX_MISBEHAVE=$files/misbehave "$files"/sandbox-* --nocapture --test-threads=1
