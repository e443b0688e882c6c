package main

import (
	"fmt"
	"math/rand"
	"strings"
	"time"
)

// farther are zones that only random questions are about.
var farther = []string{
	"America/St_Johns", "Asia/Amman", "Asia/Damascus", "Asia/Gaza", "America/Santiago", "Europe/London", "Asia/Kathmandu",
	"Australia/Sydney", "America/Nuuk", "Europe/Istanbul", "Pacific/Easter", "Pacific/Tongatapu", "Antarctica/Casey",
}

// found remembers changes of clocks, which take long to find.
var found = map[string][]time.Time{}

// anything asks for slots, mostly near a change of clocks.
func anything(dice *rand.Rand) answer {
	zone := farther[dice.Intn(len(farther))]
	if dice.Intn(2) == 0 {
		zone = clocks[dice.Intn(len(clocks))].zone
	}
	year := 1971 + dice.Intn(70)
	if zone == "Pacific/Apia" && year < 2012 {
		year = 2012 // From before, Kubernetes may never come back.
	}
	moment := near(dice, zone, year)
	q := in(zone, anySchedule(dice))
	if dice.Intn(6) == 0 && q.refused() == nil {
		since := moment.Add(-time.Duration(dice.Int63n(int64(120 * 24 * time.Hour)))).Truncate(time.Second)
		if zone != "Pacific/Apia" || since.Year() >= 2012 {
			return q.last(since, moment)
		}
	}
	return q.next(moment, 3)
}

func near(dice *rand.Rand, zone string, year int) time.Time {
	key := fmt.Sprint(zone, year)
	if found[key] == nil {
		found[key] = changes(zone, year)
	}
	change := found[key][dice.Intn(len(found[key]))]
	around := []time.Duration{time.Hour, 30 * time.Hour, 5 * 24 * time.Hour, 200 * 24 * time.Hour}[dice.Intn(4)]
	moment := change.Add(time.Duration(dice.Int63n(int64(2*around))) - around).Truncate(time.Second)
	if zone == "Pacific/Apia" && moment.Year() < 2012 {
		return change
	}
	return moment
}

func anySchedule(dice *rand.Rand) string {
	if dice.Intn(20) == 0 {
		return fmt.Sprintf("@every %dm%ds", dice.Intn(3000), dice.Intn(200))
	}
	return strings.Join([]string{
		anyField(dice, 0, 59, 2), anyField(dice, 0, 23, 2), anyField(dice, 1, 31, 6), anyField(dice, 1, 12, 8), anyField(dice, 0, 6, 6),
	}, " ")
}

// anyField is a star in all but a few cases of ten; now and then it is wrong.
func anyField(dice *rand.Rand, lowest, highest, stars int) string {
	if dice.Intn(10) < stars {
		return "*"
	}
	one := func() int { return lowest + dice.Intn(highest-lowest+1) }
	from, to := one(), one()
	if from > to && dice.Intn(60) != 0 {
		from, to = to, from
	}
	switch dice.Intn(7) {
	case 0:
		return fmt.Sprintf("%d-%d", from, to)
	case 1:
		return fmt.Sprintf("%d-%d/%d", from, to, 1+dice.Intn(9))
	case 2:
		return fmt.Sprintf("*/%d", 1+dice.Intn(highest))
	case 3:
		return fmt.Sprintf("%d/%d", from, 1+dice.Intn(9))
	case 4:
		return fmt.Sprintf("%d,%d,%d", to, from, one())
	default:
		return fmt.Sprint(one())
	}
}
