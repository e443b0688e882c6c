// Command schedules asks Kubernetes' own code which schedules of a CronJob it accepts and when they are due,
// and prints the answers, one JSON object a line. The tests of crate model compare them with ours.
//
//	ZONEINFO="$(go env GOROOT)/lib/time/zoneinfo.zip" go run ./schedules > ../../../src/model/tests/schedule/answers.jsonl
package main

import (
	"encoding/json"
	"flag"
	"log"
	"os"
	"slices"
	"time"

	"k8s.io/kubernetes/pkg/apis/batch"
	"k8s.io/kubernetes/pkg/apis/batch/validation"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/util/parsers"
)

// patience is how long one question may take: some never end.
const patience = 5 * time.Second

// schedule is what the controller asks of its library; without the library's own name for it go.mod stays as it is.
type schedule interface {
	Next(time.Time) time.Time
}

// question is a CronJob's schedule and time zone; without a zone it is asked in UTC.
type question struct {
	Schedule string  `json:"schedule"`
	Zone     *string `json:"zone,omitempty"`
}

// answer has Refused, or From and Next, or Since, Now and Last.
type answer struct {
	question
	Refused []string   `json:"refused,omitempty"`
	From    *time.Time `json:"from,omitempty"`
	Next    []string   `json:"next,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	Now     *time.Time `json:"now,omitempty"`
	Last    string     `json:"last,omitempty"`
}

func main() {
	random := flag.Int("random", 500, "how many answers to questions at random")
	seed := flag.Int64("seed", 1, "of which random questions")
	flag.Parse()
	if os.Getenv("ZONEINFO") == "" {
		log.Fatal("ZONEINFO must name the time zones of Go, so that the machine's own do not decide")
	}
	lines := json.NewEncoder(os.Stdout)
	lines.SetEscapeHTML(false)
	ask(*random, *seed, func(line answer) {
		if err := lines.Encode(line); err != nil {
			log.Fatal(err)
		}
	})
}

func in(zone, schedule string) question {
	if zone == "" {
		return question{Schedule: schedule}
	}
	return question{schedule, &zone}
}

// refused names the fields that keep the API server from storing such a CronJob.
func (q question) refused() []string {
	job := batch.CronJob{Spec: batch.CronJobSpec{
		Schedule: q.Schedule, TimeZone: q.Zone, ConcurrencyPolicy: batch.ForbidConcurrent,
	}}
	var fields []string
	for _, problem := range validation.ValidateCronJobCreate(&job, corevalidation.PodValidationOptions{}) {
		isOurs := problem.Field == "spec.schedule" || problem.Field == "spec.timeZone"
		if isOurs && !slices.Contains(fields, problem.Field) {
			fields = append(fields, problem.Field)
		}
	}
	return fields
}

// parsed is what the controller makes of a schedule that was accepted.
func (q question) parsed() schedule {
	text := q.Schedule
	if q.Zone != nil {
		text = "TZ=" + *q.Zone + " " + text
	}
	parsed, err := parsers.ParseCronScheduleWithPanicRecovery(text)
	if err != nil {
		log.Fatalf("%q is accepted, but: %v", text, err)
	}
	return parsed
}

// next asks for so many slots, each after the one before.
func (q question) next(from time.Time, count int) answer {
	if fields := q.refused(); fields != nil {
		return answer{question: q, Refused: fields}
	}
	line := answer{question: q, From: &from}
	schedule, moment := q.parsed(), from
	for range count {
		slot, ended := after(schedule, moment)
		if !ended {
			line.Next = append(line.Next, "hangs")
			return line
		}
		line.Next = append(line.Next, word(slot))
		if slot.IsZero() {
			return line
		}
		moment = slot
	}
	return line
}

// after asks in a thread of its own, which is left behind if it does not end.
func after(schedule schedule, moment time.Time) (slot time.Time, ended bool) {
	slots := make(chan time.Time, 1)
	go func() { slots <- schedule.Next(moment) }()
	select {
	case slot = <-slots:
		return slot, true
	case <-time.After(patience):
		return slot, false
	}
}

// last steps from slot to slot up to now.
func (q question) last(since, now time.Time) answer {
	schedule, last := q.parsed(), time.Time{}
	for slot := schedule.Next(since); !slot.IsZero() && !slot.After(now); slot = schedule.Next(slot) {
		last = slot
	}
	return answer{question: q, Since: &since, Now: &now, Last: word(last)}
}

func word(slot time.Time) string {
	if slot.IsZero() {
		return "never"
	}
	return slot.UTC().Format(time.RFC3339Nano)
}
