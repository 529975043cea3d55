/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550 of a guest: register rules by table, FIFO, loopback, lines.
 *
 * 16550D data sheet, "Registers": the sections are named at the tables.
 */
#include "hv/vuart.h"

#include <string.h>

#include "fakes/cmocka_inc.h"
#include "hv/console.h"
#include "hv/domain.h"
#include "hw/ports.h"

#define LSR_READY (UART_LSR_THRE | UART_LSR_TEMT)

extern bool fake_irq_line;

static struct domain d;
static char lines[16][VUART_LINE + 1];
static unsigned int nr_lines;
static unsigned int refuse_lines; /* the next n lines find no room */
static bool no_room;

bool console_has_room(const struct domain *who)
{
    assert_ptr_equal(who, &d);
    return !no_room;
}

bool console_guest_line(struct domain *who, const char *text, size_t len)
{
    assert_ptr_equal(who, &d);
    assert_true(len <= VUART_LINE);
    if (refuse_lines > 0 || no_room) {
        refuse_lines -= refuse_lines > 0 ? 1 : 0;
        return false;
    }
    memcpy(lines[nr_lines], text, len);
    lines[nr_lines][len] = '\0';
    nr_lines++;
    return true;
}

void console_guest_last_line(struct domain *who, const char *text, size_t len)
{
    refuse_lines = 0;
    no_room = false;
    assert_true(console_guest_line(who, text, len));
}

static int setup(void **state)
{
    (void)state;
    memset(&d, 0, sizeof(d));
    memcpy(d.name, "guest", 6);
    vuart_reset(&d.uart);
    nr_lines = refuse_lines = 0;
    no_room = false;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    output_free(&d.output);
    return 0;
}

static uint8_t in(unsigned int offset)
{
    return vuart_read(&d, offset);
}

static void out(unsigned int offset, uint8_t value)
{
    assert_true(vuart_write(&d, offset, value));
}

static void print(const char *text)
{
    for (; *text != '\0'; text++) {
        out(UART_DATA, (uint8_t)*text);
    }
}

/* "Master Reset": Table of reset states. The divisor is what firmware leaves: 9600 baud. */
static void test_reset__registers__as_the_data_sheet(void **state)
{
    static const uint8_t want[8] = {0, 0, UART_IIR_NONE, 0, 0, LSR_READY, 0xb0, 0};

    (void)state;
    for (unsigned int i = 0; i < 8; i++) {
        assert_int_equal(in(i), want[i]);
    }
    out(UART_LCR, UART_LCR_DLAB);
    assert_int_equal(in(UART_DATA), 12);
    assert_int_equal(in(UART_IER), 0);
}

/* What of a written byte is read back, with DLAB off and on. */
static void test_registers__written_and_read__bits_that_exist(void **state)
{
    static const struct {
        unsigned int offset;
        bool dlab;
        uint8_t kept; /* bits that read as written */
    } rows[] = {
        {UART_IER, false, 0x0f}, {UART_LCR, false, 0x7f}, {UART_MCR, false, 0x1f},
        {UART_SCR, false, 0xff}, {UART_DATA, true, 0xff}, {UART_IER, true, 0xff},
        {UART_MCR, true, 0x1f},  {UART_SCR, true, 0xff},
    };
    static const uint8_t values[] = {0x00, 0x01, 0x55, 0xaa, 0x7f, 0xff};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t k = 0; k < sizeof(values); k++) {
            uint8_t value = rows[i].offset == UART_LCR ? values[k] & 0x7f : values[k];

            vuart_reset(&d.uart);
            out(UART_LCR, rows[i].dlab ? UART_LCR_DLAB : 0);
            out(rows[i].offset, value);
            assert_int_equal(in(rows[i].offset), value & rows[i].kept);
        }
    }
    assert_int_equal(nr_lines, 0);
}

/* "Divisor latch": apart from the registers at the same addresses. */
static void test_dlab__divisor__apart_from_ier_and_data(void **state)
{
    (void)state;
    out(UART_IER, 0x05);
    out(UART_LCR, UART_LCR_DLAB | UART_LCR_8N1);
    out(UART_DATA, 0x34);
    out(UART_IER, 0x12);
    assert_int_equal(d.uart.divisor, 0x1234);
    assert_int_equal(in(UART_DATA), 0x34);
    assert_int_equal(in(UART_IER), 0x12);
    out(UART_LCR, UART_LCR_8N1);
    assert_int_equal(in(UART_IER), 0x05);
    assert_int_equal(in(UART_DATA), 0);
    assert_int_equal(d.uart.line_length, 0);
    assert_int_equal(d.uart.divisor, 0x1234);
}

/* "Line Status Register", "Modem Status Register": not written by programs. */
static void test_status_registers__written__unchanged(void **state)
{
    (void)state;
    out(UART_LSR, 0x1e);
    out(UART_MSR, 0x0f);
    assert_int_equal(in(UART_LSR), LSR_READY);
    assert_int_equal(in(UART_MSR), UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD);
}

/* "FIFO Control Register": bits 7:6 of IIR tell that FIFOs are on; changing bit 0 and bit 1 empty
 * the receiver's, and bit 0 has to be set for any other bit to count. */
static void test_fcr__table__fifo_state(void **state)
{
    static const struct {
        uint8_t before, written;
        bool emptied, on;
    } rows[] = {
        {0x00, 0x00, false, false}, {0x00, 0x01, true, true},   {0x01, 0x01, false, true},
        {0x01, 0x00, true, false},  {0x01, 0x03, true, true},   {0x01, 0x05, false, true},
        {0x01, 0xc1, false, true},  {0x01, 0xc7, true, true},   {0x00, 0x02, false, false},
        {0x00, 0xc0, false, false}, {0x01, 0x02, true, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vuart_reset(&d.uart);
        out(UART_FCR, rows[i].before);
        assert_true(vuart_input(&d, 'x'));
        out(UART_FCR, rows[i].written);
        if ((in(UART_LSR)&UART_LSR_DR) != (rows[i].emptied ? 0 : UART_LSR_DR) ||
            (in(UART_IIR)&UART_IIR_FIFO) != (rows[i].on ? UART_IIR_FIFO : 0)) {
            fail_msg("FCR 0x%02x after 0x%02x", rows[i].written, rows[i].before);
        }
        /* The receiver is as deep as it says. */
        out(UART_FCR, rows[i].on ? 0x03 : 0x00);
        unsigned int n = 0;
        while (in(UART_LSR)&UART_LSR_DR) {
            (void)in(UART_DATA);
        }
        while (vuart_input(&d, 'y')) {
            n++;
        }
        assert_int_equal(n, rows[i].on ? 16 : 1);
    }
}

static void test_receive__fifo__in_order_and_empty_reads_zero(void **state)
{
    (void)state;
    out(UART_FCR, UART_FCR_ENABLE);
    for (unsigned int i = 0; i < VUART_FIFO; i++) {
        assert_true(vuart_input(&d, (uint8_t)(0x80 + i)));
    }
    for (unsigned int i = 0; i < VUART_FIFO; i++) {
        assert_int_equal(in(UART_LSR), LSR_READY | UART_LSR_DR);
        assert_int_equal(in(UART_DATA), 0x80 + i);
    }
    assert_int_equal(in(UART_LSR), LSR_READY);
    assert_int_equal(in(UART_DATA), 0);
}

/* "Overrun Error": in FIFO mode what is in the FIFO stays; without, the byte before is lost.
 * Reading LSR clears the bit. */
static void test_receive__overrun__bit_until_read_and_the_right_byte_lost(void **state)
{
    (void)state;
    out(UART_FCR, UART_FCR_ENABLE);
    for (unsigned int i = 0; i < VUART_FIFO; i++) {
        assert_true(vuart_input(&d, (uint8_t)i));
    }
    assert_int_equal(in(UART_LSR)&UART_LSR_OE, 0);
    assert_false(vuart_input(&d, 0xee));
    assert_int_equal(in(UART_LSR), LSR_READY | UART_LSR_DR | UART_LSR_OE);
    assert_int_equal(in(UART_LSR), LSR_READY | UART_LSR_DR);
    for (unsigned int i = 0; i < VUART_FIFO; i++) {
        assert_int_equal(in(UART_DATA), i);
    }
    out(UART_FCR, 0);
    assert_true(vuart_input(&d, 'a'));
    assert_false(vuart_input(&d, 'b'));
    assert_int_equal(in(UART_LSR), LSR_READY | UART_LSR_DR | UART_LSR_OE);
    assert_int_equal(in(UART_DATA), 'b');
    assert_int_equal(in(UART_LSR), LSR_READY);
}

/* "Interrupt Identification Register": priorities, and what resets them. */
static void test_iir__sources_by_priority__and_what_clears_them(void **state)
{
    (void)state;
    assert_int_equal(in(UART_IIR), UART_IIR_NONE);
    out(UART_IER, UART_IER_TX); /* the transmitter is empty: named once */
    assert_int_equal(in(UART_IIR), UART_IIR_TX);
    assert_int_equal(in(UART_IIR), UART_IIR_NONE);
    out(UART_DATA, 'x');
    assert_int_equal(in(UART_IIR), UART_IIR_TX);
    out(UART_IER, UART_IER_TX | UART_IER_RX | UART_IER_LINE);
    out(UART_DATA, 'y');
    assert_true(vuart_input(&d, '1'));
    assert_false(vuart_input(&d, '2'));
    assert_int_equal(in(UART_IIR), UART_IIR_LINE);
    (void)in(UART_LSR);
    assert_int_equal(in(UART_IIR), UART_IIR_RX);
    (void)in(UART_DATA);
    assert_int_equal(in(UART_IIR), UART_IIR_TX);
    assert_int_equal(in(UART_IIR), UART_IIR_NONE);
    out(UART_IER, 0);
    assert_true(vuart_input(&d, '3'));
    assert_int_equal(in(UART_IIR), UART_IIR_NONE);
}

/* "Modem Control Register", bit 4: data and modem outputs come back; the lines outside are cut. */
static void test_loopback__data_and_modem_lines__come_back(void **state)
{
    static const struct {
        uint8_t mcr, msr;
    } rows[] = {
        {0x00, 0x00}, {UART_MCR_DTR, UART_MSR_DSR}, {UART_MCR_RTS, UART_MSR_CTS},
        {UART_MCR_OUT1, UART_MSR_RI}, {UART_MCR_OUT2, UART_MSR_DCD}, {0x0f, 0xf0},
    };

    (void)state;
    out(UART_FCR, UART_FCR_ENABLE);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        out(UART_MCR, UART_MCR_LOOP | rows[i].mcr);
        assert_int_equal(in(UART_MSR), rows[i].msr);
    }
    out(UART_DATA, '\n');
    out(UART_DATA, '\r');
    assert_int_equal(in(UART_DATA), '\n');
    assert_int_equal(in(UART_DATA), '\r');
    assert_int_equal(nr_lines, 0);
    /* Keys do not reach it. */
    assert_false(vuart_input(&d, 'k'));
    assert_int_equal(in(UART_LSR), LSR_READY);
    for (unsigned int i = 0; i <= VUART_FIFO; i++) {
        out(UART_DATA, (uint8_t)i);
    }
    assert_int_equal(in(UART_LSR), LSR_READY | UART_LSR_DR | UART_LSR_OE);
    /* A full console holds nothing up that does not go there. */
    no_room = true;
    out(UART_DATA, '\n');
    assert_int_equal(in(UART_LSR)&LSR_READY, LSR_READY);
    no_room = false;
    out(UART_MCR, 0);
    print("out\n");
    assert_string_equal(lines[0], "out");
}

static void test_transmit__lines__joined_and_without_their_ends(void **state)
{
    static const struct {
        const char *text, *lines[3];
    } rows[] = {
        {"one\n", {"one"}},
        {"two\r\n", {"two"}},
        {"a\n\nb\n", {"a", "", "b"}},
        {"a\rb\n", {"ab"}},
        {"\tx \n", {"\tx "}},
        {"open", {NULL}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned int n = 0;

        vuart_reset(&d.uart);
        nr_lines = 0;
        print(rows[i].text);
        while (n < 3 && rows[i].lines[n] != NULL) {
            assert_string_equal(lines[n], rows[i].lines[n]);
            n++;
        }
        assert_int_equal(nr_lines, n);
    }
}

static void test_transmit__overlong_line__in_pieces(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 2 * VUART_LINE + 3; i++) {
        out(UART_DATA, (uint8_t)('a' + i % 26));
    }
    out(UART_DATA, '\n');
    assert_int_equal(nr_lines, 3);
    assert_int_equal(strlen(lines[0]), VUART_LINE);
    assert_int_equal(strlen(lines[1]), VUART_LINE);
    assert_int_equal(strlen(lines[2]), 3);
    for (unsigned int i = 0; i < 2 * VUART_LINE + 3; i++) {
        assert_int_equal(lines[i / VUART_LINE][i % VUART_LINE], 'a' + i % 26);
    }
    nr_lines = 0;
    for (unsigned int i = 0; i < VUART_LINE; i++) {
        out(UART_DATA, 'z');
    }
    out(UART_DATA, '\n'); /* exactly full: one line, and no empty one behind it */
    assert_int_equal(nr_lines, 1);
    assert_int_equal(strlen(lines[0]), VUART_LINE);
}

static void test_transmit__console_full__not_taken_and_nothing_lost(void **state)
{
    (void)state;
    print("abc");
    no_room = true;
    assert_int_equal(in(UART_LSR), 0);
    assert_false(vuart_write(&d, UART_DATA, '\n'));
    assert_false(vuart_write(&d, UART_DATA, '\n'));
    assert_int_equal(nr_lines, 0);
    no_room = false;
    assert_int_equal(in(UART_LSR), LSR_READY);
    out(UART_DATA, '\n');
    assert_int_equal(nr_lines, 1);
    assert_string_equal(lines[0], "abc");
    for (unsigned int i = 0; i < VUART_LINE; i++) {
        out(UART_DATA, 'x');
    }
    no_room = true;
    assert_false(vuart_write(&d, UART_DATA, 'y'));
    assert_int_equal(d.uart.line_length, VUART_LINE);
    no_room = false;
    print("y\n");
    assert_int_equal(nr_lines, 3);
    assert_string_equal(lines[2], "y");
}

/* A driver that is told of a full transmitter waits for its interrupt. */
static void test_transmit__console_full__event_when_there_is_room(void **state)
{
    (void)state;
    out(UART_MCR, UART_MCR_OUT2);
    out(UART_IER, UART_IER_TX);
    assert_int_equal(in(UART_IIR), UART_IIR_TX);
    assert_false(fake_irq_line);
    assert_int_equal(in(UART_LSR), LSR_READY);
    assert_false(d.uart.tx_blocked);
    no_room = true;
    assert_int_equal(in(UART_LSR), 0);
    assert_true(d.uart.tx_blocked);
    assert_int_equal(in(UART_IIR), UART_IIR_NONE);
    no_room = false;
    vuart_unblock(&d);
    assert_false(d.uart.tx_blocked);
    assert_true(fake_irq_line);
    assert_int_equal(in(UART_IIR), UART_IIR_TX);
    assert_int_equal(in(UART_LSR), LSR_READY);
    /* Nor does it wait when it has looked again itself. */
    no_room = true;
    (void)in(UART_LSR);
    no_room = false;
    (void)in(UART_LSR);
    assert_false(d.uart.tx_blocked);
}

/* Each byte that the UART took, once; what it refused, and what went round in loopback, not. */
static void test_transmit__bytes__kept_for_readers(void **state)
{
    struct output_piece pieces[2];
    uint64_t at = 0;

    (void)state;
    print("ab\r\nc");
    no_room = true;
    assert_false(vuart_write(&d, UART_DATA, '\n'));
    no_room = false;
    out(UART_MCR, UART_MCR_LOOP);
    out(UART_DATA, 'L');
    out(UART_MCR, 0);
    print("\n");
    assert_int_equal(output_get(&d.output, &at, 100, pieces), 6);
    assert_memory_equal(pieces[0].bytes, "ab\r\nc\n", 6);
}

static void test_room__fifo_states__what_input_takes(void **state)
{
    (void)state;
    for (unsigned int fifo = 0; fifo < 2; fifo++) {
        unsigned int n = 0;

        vuart_reset(&d.uart);
        out(UART_FCR, fifo ? UART_FCR_ENABLE : 0);
        assert_int_equal(vuart_room(&d), fifo ? VUART_FIFO : 1);
        while (vuart_room(&d) > 0) {
            assert_true(vuart_input(&d, 'k'));
            n++;
        }
        assert_int_equal(n, fifo ? VUART_FIFO : 1);
        assert_int_equal(in(UART_LSR)&UART_LSR_OE, 0);
        assert_false(vuart_input(&d, 'k'));
    }
    out(UART_FCR, 0);
    out(UART_MCR, UART_MCR_LOOP);
    assert_int_equal(vuart_room(&d), 0);
}

static void test_flush__unfinished_line__printed_once_and_whatever_is_full(void **state)
{
    (void)state;
    vuart_flush(&d);
    assert_int_equal(nr_lines, 0);
    print("no end");
    no_room = true;
    vuart_flush(&d);
    assert_int_equal(nr_lines, 1);
    assert_string_equal(lines[0], "no end");
    vuart_flush(&d);
    assert_int_equal(nr_lines, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reset__registers__as_the_data_sheet, setup, teardown),
        cmocka_unit_test_setup_teardown(test_registers__written_and_read__bits_that_exist, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_dlab__divisor__apart_from_ier_and_data, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_status_registers__written__unchanged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fcr__table__fifo_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_receive__fifo__in_order_and_empty_reads_zero, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_receive__overrun__bit_until_read_and_the_right_byte_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_iir__sources_by_priority__and_what_clears_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_loopback__data_and_modem_lines__come_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_transmit__lines__joined_and_without_their_ends, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_transmit__overlong_line__in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transmit__console_full__not_taken_and_nothing_lost,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_transmit__console_full__event_when_there_is_room,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_transmit__bytes__kept_for_readers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_room__fifo_states__what_input_takes, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_flush__unfinished_line__printed_once_and_whatever_is_full, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
