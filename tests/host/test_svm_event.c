/* SPDX-License-Identifier: Apache-2.0 */
/*
 * External interrupts into a VMCB: injected, or as virtual interrupts.
 */
#include "../../svm/svm_priv.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"

#define VECTOR 0x61
#define INTERRUPT (EVENT_VALID | EVENT_TYPE_EXTINT << 8 | VECTOR)
#define EXCEPTION(vector) (EVENT_VALID | EVENT_TYPE_HW_EXCEPTION << 8 | (vector))

struct svm_caps svm_caps;
static struct svm_vcpu x;
static struct vcpu vcpu = {.hvm_data = &x};

static int setup(void **state)
{
    (void)state;
    x = (struct svm_vcpu){.vmcb = aligned_alloc(PAGE_SIZE, PAGE_SIZE)};
    memset(vmcb_open(&x), 0, PAGE_SIZE);
    vmcb_set(&x, rflags, RFLAGS_FIXED | RFLAGS_IF);
    svm_caps.virtual_interrupts = true;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(vmcb_open(&x));
    return 0;
}

static bool virtual_pending(void)
{
    return x.vmcb->int_ctl & SVM_V_IRQ;
}

static bool window(void)
{
    return virtual_pending() && (x.vmcb->intercept_misc1 & SVM_MISC1_VINTR);
}

static void enter_with_interrupt(void)
{
    assert_true(svm_interrupt(&vcpu, VECTOR));
    svm_event_enter(&x);
    assert_true(virtual_pending());
    assert_false(window());
    assert_int_equal(x.vmcb->int_vector, VECTOR);
    assert_int_equal(x.vmcb->event_inject, 0);
}

/* What the CPU does when the guest takes it. */
static void guest_takes_it(void)
{
    vmcb_set(&x, int_ctl, x.vmcb->int_ctl & ~SVM_V_IRQ);
}

static void test_event_enter__no_virtual_interrupts__injected(void **state)
{
    (void)state;
    svm_caps.virtual_interrupts = false;
    assert_true(svm_interrupt(&vcpu, VECTOR));
    svm_event_enter(&x);
    assert_int_equal(x.vmcb->event_inject, INTERRUPT);
    assert_false(virtual_pending());
    svm_event_exit(&x);
    assert_int_equal(x.next.event.info, 0);
}

static void test_event_exit__virtual_interrupt_taken__gone(void **state)
{
    (void)state;
    enter_with_interrupt();
    guest_takes_it();
    svm_event_exit(&x);
    assert_int_equal(x.next.event.info, 0);
    svm_event_enter(&x);
    assert_false(virtual_pending());
    assert_int_equal(x.vmcb->event_inject, 0);
}

static void test_event_exit__virtual_interrupt_not_taken__in_again(void **state)
{
    (void)state;
    enter_with_interrupt();
    svm_event_exit(&x);
    assert_false(virtual_pending());
    assert_int_equal(x.next.event.info, INTERRUPT);
    assert_false(svm_interrupt(&vcpu, VECTOR + 1)); /* another one has to wait */
    svm_event_enter(&x);
    assert_int_equal(x.vmcb->int_vector, VECTOR);
    assert_true(virtual_pending());
    assert_false(window());
}

/* A nested page fault while it was delivered: QEMU leaves it pending and says that there was an
 * exception; other CPUs say that there was an interrupt. */
static void test_event_exit__delivery_interrupted__once_more_as_interrupt(void **state)
{
    (void)state;
    enter_with_interrupt();
    vmcb_set(&x, exit_int_info, EXCEPTION(VECTOR));
    svm_event_exit(&x);
    assert_int_equal(x.next.event.info, INTERRUPT);
    svm_event_enter(&x);
    guest_takes_it();
    vmcb_set(&x, exit_int_info, INTERRUPT);
    svm_event_exit(&x);
    assert_int_equal(x.next.event.info, INTERRUPT);
}

/* Taken, and then an exit in the middle of an exception: that one goes on. */
static void test_event_exit__exception_after_it__kept(void **state)
{
    (void)state;
    enter_with_interrupt();
    guest_takes_it();
    vmcb_set(&x, exit_int_info, EXCEPTION(EXC_PF) | EVENT_ERROR_CODE);
    svm_event_exit(&x);
    assert_int_equal(x.next.event.info, EXCEPTION(EXC_PF) | EVENT_ERROR_CODE);
}

static void test_interrupt__window_asked_for_before__asked_for_again(void **state)
{
    (void)state;
    enter_with_interrupt();
    svm_event_exit(&x);
    assert_false(svm_interrupt(&vcpu, VECTOR + 1));
    assert_true(window());
    svm_event_enter(&x); /* the first one needs the virtual interrupt */
    assert_false(window());
    guest_takes_it();
    vmcb_set(&x, rflags, RFLAGS_FIXED);
    svm_event_exit(&x);
    assert_false(svm_interrupt(&vcpu, VECTOR + 1));
    svm_event_enter(&x);
    assert_true(window());
}

static void test_event_enter__exceptions_and_nmis__injected(void **state)
{
    (void)state;
    x.next.event.info = EXCEPTION(EXC_UD);
    svm_event_enter(&x);
    assert_int_equal(x.vmcb->event_inject, EXCEPTION(EXC_UD));
    assert_false(virtual_pending());
    x.next.event.info = EVENT_VALID | EVENT_TYPE_NMI << 8 | EXC_NMI;
    svm_event_enter(&x);
    assert_int_equal(x.vmcb->event_inject, EVENT_VALID | EVENT_TYPE_NMI << 8 | EXC_NMI);
    assert_false(virtual_pending());
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_event_enter__no_virtual_interrupts__injected),
        T(test_event_exit__virtual_interrupt_taken__gone),
        T(test_event_exit__virtual_interrupt_not_taken__in_again),
        T(test_event_exit__delivery_interrupted__once_more_as_interrupt),
        T(test_event_exit__exception_after_it__kept),
        T(test_interrupt__window_asked_for_before__asked_for_again),
        T(test_event_enter__exceptions_and_nmis__injected),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
