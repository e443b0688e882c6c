package main

import (
	"archive/zip"
	"log"
	"math/rand"
	"os"
	"sort"
	"strings"
	"time"
)

// whole are schedules that are more than five good or bad fields.
var whole = []string{
	"", " ", "*", "* * * *", "* * * * * *", "0 0 0 * * *", "* * * * * 2026", "0 0 * * * # nightly", "* * * * *;",
	"0 3 * * *", " 0 3 * * *", "0 3 * * * ", "\t0\t3\n*\v*\f*\r", "0\u00a03\u2003*\u3000*\u0085*", "0\u200b3 * * *", "0 3 * * *\x00",
	"\"0 3 * * *\"", "0  3   *    *     *",
	"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly",
	"@Daily", "@DAILY", "@", "@reboot", "@every", "@every_minute", "@noon", "@minutely", "@secondly", "@fortnightly",
	" @daily", "@daily ", "@daily\n", "@daily @daily", "@hourly * * * *", "daily",
	"@every ", "@every 1h", "@every 1h ", "@every  1h", "@every\t1h", "@Every 1h", "@every1h", "@every 1h30m", "@every 1h 30m", "@every 90m", "@every 1.5h",
	"@every 30s", "@every 1s", "@every 0", "@every 0s", "@every -0", "@every +0", "@every -1h", "@every +1h", "@every 1", "@every h", "@every .h",
	"@every .5h", "@every 5.h", "@every 1ms", "@every 999ms", "@every 1500ms", "@every 1999999999ns", "@every 2s500ms", "@every 1d", "@every 1w", "@every 1H",
	"@every 1us", "@every 1000000\u00b5s", "@every 2000000\u03bcs", "@every 1e3s", "@every 1_000s", "@every --1s", "@every +-1s", "@every -", "@every +", "@every -.s", "@every -.5s",
	"@every 1.9999999999999999999s", "@every 0.99999999999999999999s", "@every 0.333333333333333333333h", "@every 1.00000000000000000000000001s",
	"@every 61.999999999s", "@every 2562047h47m16.854775807s", "@every 2562047h47m16.854775808s", "@every -2562047h47m16.854775808s",
	"@every 9223372036854775807ns", "@every 9223372036854775808ns", "@every 9223372036854775809ns", "@every -9223372036854775808ns",
	"@every 9223372036854775808ns9223372036854775808ns", "@every 9223372036854775808ns9223372036854775808ns7s",
	"@every 9223372036s1ns", "@every 9223372037s", "@every 99999999999999999999h", "@every 0000000000000000000000001m", "@every 1m1m1m", "@every 1s1h", "@every 1h0",
	"@every 3.000000001s", "@every 1.1.1s", "@every 1..1s", "@every 876000h", "@every 1\u0661s", "@every 1s\u00e4", "@every 59m59.9999999999s",
	"TZ=UTC 0 3 * * *", "CRON_TZ=UTC 0 3 * * *", "TZ=0", "TZ=", "CRON_TZ=Europe/Berlin @daily", "TZ=Nowhere 0 3 * * *", "0 3 * * TZ", "TZ=UTC @every 1h", " TZ=UTC 0 3 * * *",
	"tz=UTC 0 3 * * *", "TIMEZONE=UTC 0 3 * * *", "CRON_TZ 0 3 * * *", "@every 1hTZ",
	"0 0 31 4 *", "0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 29 2 *", "0 0 29 2 0", "0 0 30 2 1", "0 0 30 2 */2", "0 0 30 2 *,1", "0 0 31 */2 *",
	"0 0 13 * 5", "0 0 13 * fri", "0 0 */2 * 1", "0 0 1-7 * */7", "0 0 1-31 * 1", "0 0 * * 1-6", "0 0 */1 * 1", "0 0 1/1 * 1", "0 0 13 * */1", "0 0 13 * 0-6",
	"0 0 13 * ?", "0 0 ? * 5", "0 0 13 * *,5", "0 0 13,* * 5", "0 0 13 * 5,?", "0 0 */31 * 1", "0 0 , * 1", "0 0 1 * ,", "0 0 , * ,", "0 0 , * *", "0 0 * * ,",
	"59 23 31 12 *", "59 23 31 12 6", "0 12 1 1 0", "*/7 */5 * * *", "0-59/60 0-23/24 * * *", "5,5,5 4,4 * * *", "? ? ? ? ?", "0/15 0/6 1/10 1/3 0/2",
	"1,2,3,4,5,6,7,8,9 1 1 1 1", "00 003 01 0001 00", "+0 +3 +1 +1 +1", "-0 3 * * *", "0 -3 * * *", "*-1 3 * * *", "*-x-y/2 3 ?-9 *-/1 ?-",
}

// parts are put into each of the five fields in turn.
var parts = []string{
	"*", "?", "0", "1", "5", "6", "7", "12", "13", "23", "24", "31", "32", "59", "60", "05", "+5", "-5", "--5", "99999999999999999999",
	"1-5", "5-1", "5-5", "0-6", "1-7", "1-12", "1-31", "0-59", "0-60", "1-2-3", "1-", "-", "1 -5", "+1-+5",
	"*/1", "*/2", "?/3", "*/5", "*/60", "*/100", "*/0", "*/-1", "*/+2", "*/", "/", "/5", "5/", "*/x", "*/2/2", "*//2", "**", "*5", "5*",
	"1/2", "5/1", "3/40", "2-6/2", "1-6/9", "6-2/2", "7/0", "*/9223372036854775807", "*/9223372036854775808", "*/1.5",
	"1,3", "1,", ",1", "1,,3", ",", ",,", "*,3", "3,*/2", "1-2,4-5", "1,x", "1;3", "*-", "*-9", "?-x", "*-1-2/3",
	"jan", "JAN", "Jan-Mar", "jan-mar/2", "dec", "december", "feb-1", "2-feb", "nov,dec", "jan/4", "sept", "*/jan",
	"sun", "SUN", "Mon-Fri", "sun-sat", "sat-sun", "mon,wed,fri", "tue/2", "monday", "mon-5", "fr\u0130", "\u017fun", "mi", "\u212aan",
	"L", "W", "1#2", "5L", "15W", "H", "H/5", "%", "1.5", "0x5", "1e1", "1_0", "\u0665", "\u00e4", "!5", "~", "\\*", "'5'", "a-b", "x/2", "@daily",
}

// names of time zones that are none, or that only look so.
var names = []string{
	"", " ", "utc", "Utc", "UTC", "Local", "local", "LOCAL", "europe/berlin", "Europe/berlin", "EUROPE/BERLIN", "Europe/Berlin", " Europe/Berlin", "Europe/Berlin ",
	"Europe/Berlin\n", "/Europe/Berlin", "Europe/Berlin/", "Europe//Berlin", "Europe", "Europe/", "Europe/../Europe/Berlin", "./Europe/Berlin", "..", ".",
	"Berlin", "Europe/Atlantis", "GMT", "GMT0", "GMT+0", "GMT-0", "Etc/GMT+5", "Etc/GMT-14", "Etc/GMT-15", "Etc/Unknown", "Unknown", "Factory", "Z", "Zulu",
	"+02:00", "UTC+2", "GMT+2", "CET", "CEST", "EST", "EST5EDT", "PST", "PST8PDT", "US/Pacific", "Asia/Calcutta", "Asia/Kolkata", "America/Argentina/ComodRivadavia",
	"America/North_Dakota/New_Salem", "America/Argentina", "-Europe/Berlin", "Europe/-Berlin", "Europe\\Berlin", "Europe/Berl\u00efn", "ABCDEFGHIJKLMNO", "CET-1CEST",
	"CET-1CEST,M3.5.0,M10.5.0/3", "iso3166.tab", "zone.tab", "tzdata.zi", "leapseconds", "2026e",
}

// clock is a zone, and years in which its clocks change.
type clock struct {
	zone  string
	years []int
}

// clocks are zones whose clocks change in some way of their own.
var clocks = []clock{
	{"UTC", []int{2026}},
	{"Europe/Berlin", []int{2026}},
	{"America/New_York", []int{2026}},
	{"America/Sao_Paulo", []int{2018, 2019}}, // at midnight, west of Greenwich
	{"Asia/Kolkata", []int{2026}},
	{"Australia/Lord_Howe", []int{2026}}, // by half an hour
	{"Pacific/Apia", []int{2012, 2021}},
	{"Africa/Cairo", []int{2026}},     // at midnight, east of Greenwich
	{"America/Asuncion", []int{2023}}, // at midnight of the first of a month
	{"America/Havana", []int{2026}},   // at midnight, and back to it
	{"Asia/Beirut", []int{2026}},
	{"Atlantic/Azores", []int{2026}},  // at midnight, back over it
	{"Antarctica/Troll", []int{2026}}, // by two hours
	{"Pacific/Chatham", []int{2026}},  // at a quarter to
	{"Africa/Monrovia", []int{1972}},  // by minutes and seconds
	{"Asia/Pyongyang", []int{2018}},   // by half an hour, at half past eleven at night
	{"America/Caracas", []int{2016}},
	{"America/Scoresbysund", []int{2024}},
}

// changing are schedules for which a change of clocks matters.
var changing = []string{
	"* * * * *", "0 * * * *", "30 2 * * *", "0 0 * * *", "30 1 * * *", "15 0,23 * * *", "45 1-3 * * *", "*/20 */2 * * *",
	"0 12 * * 5", "0 3 * 4,10,11 *", "30 23 * * 0", "0 5 1 * *",
}

// ask puts all questions, and so many more at random.
func ask(random int, seed int64, tell func(answer)) {
	moment := time.Date(2026, 1, 15, 10, 17, 23, 456_000_000, time.UTC)
	for _, schedule := range whole {
		tell(in("", schedule).next(moment, 3))
	}
	for field := range 5 {
		for _, part := range parts {
			fields := []string{"0", "0", "*", "*", "*"}
			fields[field] = part
			tell(in("", strings.Join(fields, " ")).next(moment, 2))
		}
	}
	askZones(tell)
	askLongTimes(tell)
	dice := rand.New(rand.NewSource(seed))
	for range random {
		tell(anything(dice))
	}
	askDateLine(tell)
}

func askZones(tell func(answer)) {
	summer := time.Date(2025, 6, 30, 23, 45, 0, 0, time.UTC)
	for _, name := range names {
		tell(question{"15 3 * * *", &name}.next(summer, 1))
	}
	tell(question{"nonsense", &names[0]}.next(summer, 1))
	for _, name := range known() {
		tell(in(name, "15 3 * * *").next(summer, 1))
	}
	for _, clock := range clocks {
		for _, change := range clock.changes() {
			for _, before := range []time.Duration{30 * time.Hour, 31 * time.Minute, -20 * time.Minute} {
				for _, schedule := range changing {
					tell(in(clock.zone, schedule).next(change.Add(-before), 3))
				}
			}
		}
	}
}

// askDateLine is about days that a zone skipped when it changed sides; some answers never come, so it comes last.
func askDateLine(tell func(answer)) {
	for _, from := range []time.Time{day(2011, 12, 28), day(2011, 12, 30).Add(9 * time.Hour), day(2011, 12, 30).Add(11 * time.Hour)} {
		for _, schedule := range []string{"0 0 * * *", "30 4 * * *", "0 */5 * * *"} {
			tell(in("Pacific/Apia", schedule).next(from, 3))
		}
	}
	tell(in("Pacific/Apia", "0 0 30 12 *").next(day(2011, 12, 28), 3))
	tell(in("Pacific/Kwajalein", "0 12 22 8 *").next(day(1993, 8, 19), 3))
}

func day(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// askLongTimes is about leap days, ends of searches, and many slots at once.
func askLongTimes(tell func(answer)) {
	for _, year := range []int{1899, 1969, 2020, 2023, 2095, 2096, 2097, 2099, 2103} {
		for _, schedule := range []string{"0 0 29 2 *", "0 0 29 2 1", "0 0 29 2 */2", "59 23 28-29 2 ?", "0 0 30 2 *", "0 0 31 12 *", "@yearly"} {
			tell(in("Europe/Berlin", schedule).next(day(year, 1, 1), 3))
		}
	}
	for _, nanosecond := range []int{0, 1, 999_999_999} {
		for _, second := range []int64{-1, 0, 59, 60, -3_000_000_000, 1_800_000_000} {
			for _, schedule := range []string{"* * * * *", "@every 90s", "@every 1h", "@every 1ms"} {
				tell(in("", schedule).next(time.Unix(second, int64(nanosecond)).UTC(), 3))
			}
		}
	}
	since := time.Date(2016, 2, 28, 23, 59, 31, 0, time.UTC)
	for _, schedule := range []string{"* * * * *", "@every 90s", "@every 1h", "0 3 * * *", "* 0 1 1 *", "* * * 1-6 *", "0 0 29 2 *", "0 0 30 2 *", "30 6-16/4 * * 1-5", "@monthly"} {
		for _, now := range []time.Time{since, since.Add(29 * time.Second), since.Add(time.Hour), since.AddDate(0, 0, 40), day(2026, 11, 21)} {
			tell(in("", schedule).last(since, now))
		}
	}
	// From before, the controller passes over the second of these Fridays, which has no midnight.
	for _, now := range []time.Time{day(2026, 4, 25), time.Date(2026, 4, 30, 20, 59, 0, 0, time.UTC), day(2026, 5, 1)} {
		tell(in("Africa/Cairo", "*/10 * * * 5").last(time.Date(2026, 4, 17, 19, 10, 0, 0, time.UTC), now))
	}
	for _, schedule := range []string{"30 2 * * *", "30 1 * * *", "*/15 * * * *", "0 12 * * 5"} {
		for _, zone := range []string{"Europe/Berlin", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe"} {
			tell(in(zone, schedule).last(day(2025, 11, 1), day(2026, 4, 25)))
		}
	}
}

// known are the names of all time zones that Go ships.
func known() []string {
	archive, err := zip.OpenReader(os.Getenv("ZONEINFO"))
	if err != nil {
		log.Fatal(err)
	}
	defer archive.Close()
	var names []string
	for _, file := range archive.File {
		if !strings.HasSuffix(file.Name, "/") {
			names = append(names, file.Name)
		}
	}
	return names
}

func location(zone string) *time.Location {
	location, err := time.LoadLocation(zone)
	if err != nil {
		log.Fatal(err)
	}
	return location
}

// changes are the moments at which clocks change; of a year without any, its beginning.
func (c clock) changes() []time.Time {
	var found []time.Time
	for _, year := range c.years {
		found = append(found, changes(c.zone, year)...)
	}
	return found
}

func changes(zone string, year int) []time.Time {
	place, begin := location(zone), time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
	var found []time.Time
	for hour := begin; hour.Year() == year; hour = hour.Add(time.Hour) {
		offset := func(seconds int) int {
			_, offset := hour.Add(time.Duration(seconds) * time.Second).In(place).Zone()
			return offset
		}
		if offset(0) != offset(3600) {
			seconds := sort.Search(3600, func(seconds int) bool { return offset(seconds) != offset(0) })
			found = append(found, hour.Add(time.Duration(seconds)*time.Second))
		}
	}
	if found == nil {
		return []time.Time{begin}
	}
	return found
}
