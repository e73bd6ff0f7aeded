//! Shifts and cron schedules in a time zone, days of 23 and 25 hours included.
