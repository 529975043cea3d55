# SPDX-License-Identifier: Apache-2.0
"""The same cases on both virtualizations: what Bochs runs under VMX, TCG runs under SVM."""

import pytest
import test_cases
import test_chaos
import test_faults
import test_linux
import test_recorder
import test_reset
import test_seal
import test_timeline
import test_watchdog
from conftest import BOCHS, SVM, for_svm

TABLES = [test_cases.CASES, test_chaos.CASES, test_faults.SURVIVED, test_faults.ENDURANCE,
          test_faults.ENDED, test_linux.CASES, test_recorder.CASES, test_reset.CASES,
          test_seal.CASES, test_timeline.CASES, test_watchdog.CASES]

# Start of a case's name -> why it is not on TCG with SVM.
LEFT_OUT = {
    "irqexact-ryzen": "SVM on Bochs, where interrupts are injected and not virtual",
    "lost-": "molt ends with a panic: no virtualization has part in it",
    "linux-bzimage-amd64": "a kernel that unpacks itself: most of the other Linux cases have one",
    "2-x2APIC": "TCG's CPUs have xAPIC only",
    "4-x2APIC": "TCG's CPUs have xAPIC only",
    "no-ept": "a CPU without virtualization that molt can use",
    "no-real-mode": "a CPU without virtualization that molt can use",
    "modes-ryzen": "SVM on Bochs",
    "selftest-": "the memory path shows it (tcg)",
    "watchdog-": "the memory path shows it (tcg)",
    "some-cpus": "the memory path shows it (tcg)",
    "timeline-back-": "faults-* show that they come back; deadlines of 30 ms are Bochs's",
    "updates-ryzen": "SVM on Bochs",
}


def names(engine):
    return {case.name for table in TABLES for case in table
            if case.engine == engine and not case.soak}


def left_out(name):
    return any(name.startswith(start) for start in LEFT_OUT)


def test_cases__of_bochs__run_on_svm_too_or_are_left_out_by_name():
    alone = names(BOCHS) - names(SVM)
    assert {name for name in alone if not left_out(name)} == set()


def test_left_out__each_entry__is_of_a_case_that_svm_has_not():
    every = {case.name for table in TABLES for case in table if case.engine == BOCHS}
    for start in LEFT_OUT:
        found = {name for name in every if name.startswith(start)}
        assert found and not found & names(SVM), start


@pytest.mark.parametrize("value, expected", [
    ("a/worker.elf,mem=32M", "a/worker.elf,mem=32M,cmdline=engine=tcg"),
    ("a/probe.elf,name=p,cmdline=x=1 y", "a/probe.elf,name=p,cmdline=engine=tcg x=1 y"),
    ("a/vmlinuz,cmdline=quiet", "a/vmlinuz,cmdline=molt.late=30 tsc=reliable quiet"),
])
def test_for_svm(value, expected):
    assert for_svm(value) == expected
