/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real-time clock: registers behind ports 0x70 and 0x71. MC146818 data sheet, "Registers".
 */
#ifndef HW_RTC_H
#define HW_RTC_H

#define CMOS_INDEX_PORT 0x70 /* bit 7 masks NMIs */
#define CMOS_DATA_PORT 0x71

#define RTC_SECONDS 0x00U
#define RTC_MINUTES 0x02U
#define RTC_HOURS 0x04U
#define RTC_DAY 0x07U
#define RTC_MONTH 0x08U
#define RTC_YEAR 0x09U
#define RTC_STATUS_A 0x0aU
#define RTC_STATUS_B 0x0bU
#define RTC_CENTURY 0x32U

#define RTC_HOURS_PM 0x80U
#define RTC_A_UPDATING 0x80U
#define RTC_B_24H 0x02U
#define RTC_B_BINARY 0x04U

#endif
